//! Which resources of a response a rejection names. Envoy applies the good ones of a response and lists the bad ones
//! in its text, in one of these forms:
//!
//! ```text
//! Error adding/updating cluster(s) NAME: reason, NAME: reason
//! Error adding/updating listener(s) NAME: reason
//! NAME: reason
//! ```

use std::sync::Arc;

/// Longest text kept per resource: some of Envoy's texts print the whole message.
const MAX_TEXT: usize = 2048;

/// The names out of `sent` that the text blames, each with its own part of the text. Empty if it names none of them.
pub fn blamed(text: &str, sent: &[Arc<str>]) -> Vec<(Arc<str>, Arc<str>)> {
    let listed = listed(text, sent);
    if !listed.is_empty() {
        return listed;
    }
    let text_of_all = shorten(text);
    sent.iter().filter(|name| mentions(text, name)).map(|name| (name.clone(), text_of_all.clone())).collect()
}

/// The text as it is kept.
pub fn shorten(text: &str) -> Arc<str> {
    let text = text.trim();
    if text.len() <= MAX_TEXT {
        return text.into();
    }
    let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end]).into()
}

/// Names that stand where Envoy's lists have them: `NAME:` after `(s) `, at the start of a line, or after a comma.
fn listed(text: &str, sent: &[Arc<str>]) -> Vec<(Arc<str>, Arc<str>)> {
    let mut found: Vec<(usize, &Arc<str>)> = sent
        .iter()
        .filter_map(|name| {
            let entry = |at: usize| {
                let before = &text[..at];
                let starts = before.is_empty() || before.ends_with("(s) ") || before.ends_with('\n');
                let follows = before.ends_with(", ");
                (starts || follows) && text[at + name.len()..].starts_with(':')
            };
            Some((text.match_indices(&**name).map(|(at, _)| at).find(|at| entry(*at))?, name))
        })
        .collect();
    found.sort_unstable_by_key(|(at, _)| *at);
    let ends = found.iter().skip(1).map(|(at, _)| *at).chain([text.len()]);
    let part = |(at, name): (usize, &Arc<str>), end: usize| {
        let part = text[at + name.len() + 1..end].trim().trim_end_matches(',');
        (name.clone(), shorten(part))
    };
    found.iter().zip(ends).map(|(entry, end)| part(*entry, end)).collect()
}

/// Whether the text holds the name as a whole word.
fn mentions(text: &str, name: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/');
    !name.is_empty()
        && text.match_indices(name).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let mut after = text[at + name.len()..].chars();
            let next = after.next();
            // A full stop ends a sentence, or goes on as part of a longer name.
            let goes_on = match next {
                Some('.') => after.next().is_some_and(in_name),
                Some(c) => in_name(c),
                None => false,
            };
            !before.is_some_and(|c| in_name(c) || c == '.') && !goes_on
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, sent: &[&str]) -> Vec<(String, String)> {
        let sent: Vec<Arc<str>> = sent.iter().map(|s| Arc::from(*s)).collect();
        blamed(text, &sent).into_iter().map(|(n, t)| (n.to_string(), t.to_string())).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn lists_of_clusters_and_listeners() {
        let text = "Error adding/updating cluster(s) kri_b: no such thing, kri_a: cluster kri_c is, well, bad";
        let want = pairs(&[("kri_b", "no such thing"), ("kri_a", "cluster kri_c is, well, bad")]);
        assert_eq!(names(text, &["kri_a", "kri_b", "kri_c"]), want);
        let text = "Error adding/updating listener(s) in: cannot bind '127.0.0.1:80': Address in use\nout: no filter\n";
        let want = pairs(&[("in", "cannot bind '127.0.0.1:80': Address in use"), ("out", "no filter")]);
        assert_eq!(names(text, &["in", "out", "bind"]), want);
    }

    #[test]
    fn elsewhere_a_name_counts_as_a_whole_word() {
        let text = "assignment for kri_a_b. malformed, see 'kri_c'";
        assert_eq!(names(text, &["kri_a", "kri_c"]), pairs(&[("kri_c", text)]));
        assert_eq!(names(text, &["kri_a_b"]), pairs(&[("kri_a_b", text)]));
        assert_eq!(names("x.kri_a is bad", &["kri_a"]), []);
        assert_eq!(names("no names at all", &["kri_a", ""]), []);
    }

    #[test]
    fn long_texts_are_cut() {
        let text = "ä".repeat(5000);
        let kept = shorten(&text);
        assert!(kept.len() < MAX_TEXT + 8 && kept.ends_with('…'));
    }
}
