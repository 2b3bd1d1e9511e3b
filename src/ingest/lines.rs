//! The body cutter: where the records of a body lie. Pure: bytes in, ranges out.

use std::ops::Range;

/// The ranges of the non-empty lines of `body`, each with its newline if it has one.
///
/// A line of nothing but spaces, tabs and carriage returns is empty. Only the last line can be without
/// a newline.
pub(super) fn lines(body: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    let mut newlines = memchr::memchr_iter(b'\n', body);
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let end = match newlines.next() {
            Some(newline) => newline + 1,
            None => {
                is_over = true;
                body.len()
            }
        };
        let line = start..end;
        start = end;
        Some(line)
    })
    .filter(move |line| !body.get(line.clone()).is_none_or(is_blank))
}

fn is_blank(line: &[u8]) -> bool {
    // Nearly every line begins with something else, so that this looks at one byte.
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(body: &str) -> Vec<&str> {
        lines(body.as_bytes()).map(|line| &body[line]).collect()
    }

    #[test]
    fn each_line_is_a_record_and_keeps_its_newline() {
        assert_eq!(cut("a\nb\n"), ["a\n", "b\n"]);
        assert_eq!(cut("a\nb"), ["a\n", "b"]);
        assert_eq!(cut("a\r\nb"), ["a\r\n", "b"]);
    }

    #[test]
    fn empty_lines_are_no_records() {
        assert_eq!(cut(""), [""; 0]);
        assert_eq!(cut("\n\n \t\r\n"), [""; 0]);
        assert_eq!(cut("\n\na\n\n\nb\n   "), ["a\n", "b\n"]);
    }

    proptest! {
        /// Cutting keeps every byte of every line that is not blank, in order, and nothing else.
        #[test]
        fn cutting_agrees_with_splitting(body in "[a \n\r\t]{0,60}") {
            let wanted: Vec<&str> = body
                .split_inclusive('\n')
                .filter(|line| !line.trim_matches([' ', '\t', '\r', '\n']).is_empty())
                .collect();
            prop_assert_eq!(cut(&body), wanted);
        }

        /// No byte of a line is looked at as text.
        #[test]
        fn any_bytes_can_be_cut(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut end = 0;
            for line in lines(&body) {
                prop_assert!(line.start >= end && line.end <= body.len());
                prop_assert!(!body[line.start..line.end - 1].contains(&b'\n'));
                end = line.end;
            }
        }
    }
}
