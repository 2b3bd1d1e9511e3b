//! The bearer token of a listener: read from its file once, never kept in the clear, never shown.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::hmac;
use ring::rand::SystemRandom;

/// The most bytes that a token file may have.
pub const TOKEN_FILE_BYTES_MAX: u64 = 4 * 1024;

/// What a request that changes something has to carry. What is kept is a keyed digest of it, under a key
/// that this process drew at random, so that comparing takes the same time whatever is compared.
pub struct Token {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Token {
    /// Reads the token from `path`, which the setting `key` names: the whole file but for newlines at its
    /// end.
    ///
    /// # Errors
    ///
    /// When the file can not be read, everybody can, or what it holds can not be sent as a token.
    pub fn read(key: &'static str, path: &Path) -> Result<Self, TokenError> {
        let fault = |fault| TokenError { key, path: path.to_owned(), fault };
        let unreadable = |error| fault(TokenFault::Unreadable(error));
        // Asked before opening: opening a pipe would wait for its writer.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(fault(TokenFault::NoFile));
        }
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
        if mode & OTHERS != 0 {
            return Err(fault(TokenFault::Exposed { mode }));
        }
        let mut text = String::new();
        let read = file.take(TOKEN_FILE_BYTES_MAX + 1).read_to_string(&mut text);
        read.map_err(unreadable)?;
        Self::new(&text).map_err(fault)
    }

    fn new(text: &str) -> Result<Self, TokenFault> {
        if u64::try_from(text.len()).is_ok_and(|bytes| bytes > TOKEN_FILE_BYTES_MAX) {
            return Err(TokenFault::TooLong);
        }
        let token = text.trim_end_matches(['\n', '\r']);
        if token.is_empty() {
            return Err(TokenFault::Empty);
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenFault::Unsendable);
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| TokenFault::NoRandom)?;
        let tag = hmac::sign(&key, token.as_bytes());
        Ok(Self { key, tag })
    }

    /// Whether the request with these `headers` carries the token.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), NotShown> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(NotShown::Missing)?;
        let shown = (values.next().is_none()).then(|| bearer(value.as_bytes())).flatten();
        let shown = shown.ok_or(NotShown::Wrong)?;
        hmac::verify(&self.key, shown, self.tag.as_ref()).map_err(|_| NotShown::Wrong)
    }
}

/// The token of an `Authorization: Bearer ...` value.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim_ascii())
}

const BEARER: &[u8] = b"Bearer ";

/// The permission bits of those who are neither the owner nor in the group.
const OTHERS: u32 = 0o007;

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// Why a request does not carry the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotShown {
    /// It has no `Authorization`.
    Missing,
    /// It has one that is not the token.
    Wrong,
}

/// Why there is no token, and in which file.
#[derive(Debug)]
pub struct TokenError {
    /// The setting that names the file.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: TokenFault,
}

/// What is wrong with a token file.
#[derive(Debug)]
pub enum TokenFault {
    /// It can not be read.
    Unreadable(io::Error),
    /// It is a directory, a pipe or a device.
    NoFile,
    /// Everybody on the machine may read or write it.
    Exposed {
        /// Its permissions.
        mode: u32,
    },
    /// It holds nothing.
    Empty,
    /// It is longer than [`TOKEN_FILE_BYTES_MAX`].
    TooLong,
    /// It holds something that no header can carry.
    Unsendable,
    /// The system gives no random numbers.
    NoRandom,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`: ", self.key, self.path.display())?;
        match &self.fault {
            TokenFault::Unreadable(error) => write!(f, "can not be read: {error}"),
            TokenFault::NoFile => f.write_str("is not a regular file"),
            TokenFault::Exposed { mode } => write!(
                f,
                "is open to everybody on this machine (mode {mode:04o}); take the rights of others \
                 away (chmod o= FILE; for a Kubernetes secret: defaultMode: 0440)"
            ),
            TokenFault::Empty => f.write_str("is empty; it has to hold the token"),
            TokenFault::TooLong => write!(f, "has more than {TOKEN_FILE_BYTES_MAX} bytes"),
            TokenFault::Unsendable => f.write_str(
                "holds a space or a character that is not printable ASCII; a token is one word",
            ),
            TokenFault::NoRandom => {
                f.write_str("can not be kept safely: the system gives no random numbers")
            }
        }
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_static(value))).collect()
    }

    fn read(content: &[u8], mode: u32) -> Result<Token, TokenError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Token::read("x.token_file", &path)
    }

    #[test]
    fn only_the_token_itself_opens() {
        let token = Token::new("s3cret-word\r\n").unwrap();
        assert_eq!(token.check(&headers(&["Bearer s3cret-word"])), Ok(()));
        assert_eq!(token.check(&headers(&["bearer  s3cret-word"])), Ok(()));
        assert_eq!(token.check(&headers(&[])), Err(NotShown::Missing));
        for wrong in
            ["Bearer s3cret-wor", "Bearer s3cret-word2", "Bearer ", "Bearer", "s3cret-word"]
        {
            assert_eq!(token.check(&headers(&[wrong])), Err(NotShown::Wrong), "{wrong}");
        }
        assert_eq!(token.check(&headers(&["Basic s3cret-word"])), Err(NotShown::Wrong));
        let two = headers(&["Bearer s3cret-word", "Bearer s3cret-word"]);
        assert_eq!(token.check(&two), Err(NotShown::Wrong));
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = Token::new("s3cret-word").unwrap();
        assert_eq!(format!("{token:?}"), "Token(redacted)");
        assert_eq!(format!("{:#?}", Some(&token)), "Some(\n    Token(redacted),\n)");
    }

    #[test]
    fn a_token_has_no_clone() {
        trait UnlessClone<T> {
            fn holds() {}
        }
        struct IsClone;
        impl<T> UnlessClone<()> for T {}
        impl<T: Clone> UnlessClone<IsClone> for T {}
        // With a `Clone`, both would apply, and this would not compile.
        <Token as UnlessClone<_>>::holds();
    }

    #[test]
    fn the_file_may_end_with_a_newline() {
        let token = read(b"s3cret-word\n", 0o600).unwrap();
        assert_eq!(token.check(&headers(&["Bearer s3cret-word"])), Ok(()));
        assert!(read(b"s3cret-word", 0o440).is_ok());
    }

    #[test]
    fn a_file_that_can_not_be_a_token_is_refused_and_never_quoted() {
        let refused = |content: &[u8], mode| read(content, mode).unwrap_err().to_string();
        assert!(refused(b"s3cret", 0o644).contains("mode 0644"), "{}", refused(b"s3cret", 0o644));
        assert!(refused(b"\n\n", 0o600).contains("is empty"));
        assert!(refused(b"", 0o600).contains("is empty"));
        assert!(refused(b"two words", 0o600).contains("one word"));
        assert!(refused(b"line\nline\n", 0o600).contains("one word"));
        assert!(refused(&[b'x'; 5_000], 0o600).contains("more than 4096 bytes"));
        assert!(refused(b"\xff\xfe", 0o600).contains("can not be read"));
        for (content, mode) in [(&b"s3cret"[..], 0o644), (b"s3 cret", 0o600)] {
            assert!(!refused(content, mode).contains("s3"), "the content is not shown");
        }
        let directory = tempfile::tempdir().unwrap();
        let error = Token::read("x.token_file", directory.path()).unwrap_err();
        assert!(matches!(error.fault, TokenFault::NoFile));
        let error =
            Token::read("x.token_file", &directory.path().join("none")).unwrap_err().to_string();
        assert!(error.starts_with("x.token_file `") && error.contains("can not be read"));
    }
}
