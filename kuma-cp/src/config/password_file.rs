//! A password that lies in a file, such as a credential of the service manager or a secret that something renews.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::Password;

/// No password is longer; what is longer is another file.
const LONGEST: u64 = 64 * 1024;

/// Why a file gives no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFileError {
    /// It cannot be read.
    #[error("the password file {} cannot be read: {cause}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// There is nothing in it but a line break.
    #[error("the password file {} is empty", .0.display())]
    Empty(PathBuf),
    /// It holds more than a password.
    #[error("the password file {} is longer than any password", .0.display())]
    TooLong(PathBuf),
}

/// What is in the file now, without the line break at its end.
///
/// # Errors
/// A file that cannot be read, or that holds no password.
pub fn read(path: &Path) -> Result<Password, PasswordFileError> {
    let unreadable = |cause| PasswordFileError::Unreadable { path: path.to_owned(), cause };
    let mut text = Zeroizing::new(String::new());
    File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text)).map_err(unreadable)?;
    if text.len() as u64 > LONGEST {
        return Err(PasswordFileError::TooLong(path.to_owned()));
    }
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(PasswordFileError::Empty(path.to_owned())),
        password => Ok(password.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_password_is_read_without_its_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        for (content, password) in [("s3cret\n", "s3cret"), ("new", "new"), (" a b \r\n", " a b ")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path).unwrap().reveal(), password);
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(read(&path), Err(PasswordFileError::Empty(_))));
        std::fs::write(&path, "x".repeat(LONGEST as usize + 1)).unwrap();
        assert!(matches!(read(&path), Err(PasswordFileError::TooLong(_))));
        let text = read(&dir.path().join("none")).unwrap_err().to_string();
        assert!(text.contains("none cannot be read: No such file"), "{text}");
    }
}
