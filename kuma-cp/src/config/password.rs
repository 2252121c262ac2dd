//! A password in the configuration: readable by the code that needs it, masked wherever it is printed or serialised.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

/// What is shown in the place of a password.
pub const MASK: &str = "*****";

/// Text that prints and serialises as [`MASK`], and is wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Password(Zeroizing<String>);

impl Password {
    /// The password itself; for the call that hands it to the server, and nowhere else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Password {
    fn from(value: String) -> Self {
        Self(Zeroizing::new(value))
    }
}

impl From<&str> for Password {
    fn from(value: &str) -> Self {
        value.to_owned().into()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_masked_everywhere_but_where_it_is_needed() {
        let password = Password::from("s3cret");
        assert_eq!(password.reveal(), "s3cret");
        assert_eq!(format!("{password:?}"), MASK);
        assert_eq!(serde_json::to_string(&password).unwrap(), "\"*****\"");
    }
}
