//! The known word that somebody most likely meant. Pure.

/// The one of `known` that is nearest to `found`, when it is near enough to be meant.
///
/// Near enough is a third of the letters, and one letter at least; or a word that goes on behind what
/// was found, as `linger_ms` does behind `linger`.
pub(super) fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let letters = found.chars().count();
    let bound = (letters / 3).max(1);
    let goes_on = |known: &str| {
        found.len() >= PREFIX_BYTES_MIN
            && known.strip_prefix(found).is_some_and(|rest| rest.starts_with('_'))
    };
    known
        .filter(|known| goes_on(known) || known.chars().count().abs_diff(letters) <= bound)
        .map(|known| (strsim::osa_distance(found, known), known))
        .filter(|(distance, known)| *distance <= bound || goes_on(known))
        .min()
        .map(|(_, known)| known)
}

/// A beginning has to have as many bytes to say anything.
const PREFIX_BYTES_MIN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood_and_another_word_is_not() {
        let known = || ["linger_ms", "listen", "workers"].into_iter();
        assert_eq!(nearest("lingr_ms", known()), Some("linger_ms"));
        assert_eq!(nearest("lsiten", known()), Some("listen"));
        assert_eq!(nearest("linger", known()), Some("linger_ms"));
        assert_eq!(nearest("l", known()), None);
        assert_eq!(nearest("threads", known()), None);
        assert_eq!(nearest("", known()), None);
        assert_eq!(nearest(&"x".repeat(100_000), known()), None);
    }
}
