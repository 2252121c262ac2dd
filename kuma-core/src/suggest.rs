//! What somebody may have meant: the nearest known word.

/// The known word nearest to `word`: one that begins with it, or at most two edits away, case aside.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() < 2 || word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    known
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            let edits = distance(&word, &lower);
            (if lower.starts_with(&word) { edits.min(2) } else { edits }, candidate)
        })
        .filter(|(edits, _)| *edits <= 2 && *edits < word.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, removals and replacements that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replace = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["mesh", "meshes", "meshtimeout", "dataplanes", "zones"];
        let near = |word| nearest(word, known.into_iter());
        assert_eq!(near("meshez"), Some("meshes"));
        assert_eq!(near("dataplane"), Some("dataplanes"));
        assert_eq!(near("MeshTimout"), Some("meshtimeout"));
        assert_eq!(near("datap"), Some("dataplanes"));
        assert_eq!(near("secrets"), None);
        assert_eq!(near("x"), None);
    }
}
