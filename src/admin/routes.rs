//! What is where: paths, methods, which listener shows what, and what needs the token. Pure.

use http::Method;

/// Which listener a request came in at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// `listen`: everything.
    Admin,
    /// `health_listen`: health and metrics alone.
    Health,
}

impl Listener {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Health => "health",
        }
    }
}

/// What stands for the name of a stream.
const STREAM: &str = "{stream}";

/// Something that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Livez,
    Readyz,
    Metrics,
    Status,
    Encryption,
    LogLevel,
    Replay,
    Quit,
    Page,
}

impl Endpoint {
    pub(super) const ALL: [Self; 9] = [
        Self::Livez,
        Self::Readyz,
        Self::Metrics,
        Self::Status,
        Self::Encryption,
        Self::LogLevel,
        Self::Replay,
        Self::Quit,
        Self::Page,
    ];

    /// The path, with [`STREAM`] where the name of a stream stands.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::Status => "/v1/status",
            Self::Encryption => "/v1/streams/{stream}/encryption",
            Self::LogLevel => "/v1/log-level",
            Self::Replay => "/v1/dead-letters/{stream}/replay",
            Self::Quit => "/quitquitquit",
            Self::Page => "/",
        }
    }

    /// The methods, as the `Allow` header lists them.
    pub(super) const fn allow(self) -> &'static str {
        match self {
            Self::Livez | Self::Readyz | Self::Metrics | Self::Status | Self::Page => "GET, HEAD",
            Self::Encryption | Self::LogLevel => "GET, HEAD, PUT",
            Self::Replay | Self::Quit => "POST",
        }
    }

    /// The name of the stream in `path`, if it is a path of this endpoint and one stands there. It is taken as
    /// it stands: no name needs an escape.
    pub(super) fn stream(self, path: &str) -> Option<&str> {
        let (before, after) = self.path().split_once(STREAM)?;
        let name = path.strip_prefix(before)?.strip_suffix(after)?;
        (!name.is_empty() && !name.contains('/')).then_some(name)
    }

    fn has(self, path: &str) -> bool {
        self.path() == path && !path.contains(STREAM) || self.stream(path).is_some()
    }

    /// Whether the listener for health and metrics shows it too.
    const fn is_health(self) -> bool {
        matches!(self, Self::Livez | Self::Readyz | Self::Metrics)
    }

    pub(super) const fn is_at(self, listener: Listener) -> bool {
        match listener {
            Listener::Admin => true,
            Listener::Health => self.is_health(),
        }
    }

    /// Whether a request needs the token. What changes something always does. Where others than this
    /// machine can come in (`exposed`), so does what shows more than health and metrics.
    pub(super) fn needs_token(self, method: &Method, exposed: bool) -> bool {
        let changes = method != Method::GET && method != Method::HEAD;
        changes || (exposed && !self.is_health())
    }
}

/// Why a request leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// Nothing has that path.
    Path,
    /// The path is there, for other methods.
    Method(Endpoint),
}

/// What a request asks for.
pub(super) fn route(listener: Listener, method: &Method, path: &str) -> Result<Endpoint, NoRoute> {
    let found = Endpoint::ALL.into_iter().find(|e| e.has(path) && e.is_at(listener));
    let endpoint = found.ok_or(NoRoute::Path)?;
    let allowed = endpoint.allow().split(", ").any(|allowed| allowed == method.as_str());
    if allowed { Ok(endpoint) } else { Err(NoRoute::Method(endpoint)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_listener_shows_three_things_and_changes_nothing() {
        let shown: Vec<&str> = Endpoint::ALL
            .into_iter()
            .filter(|endpoint| endpoint.is_at(Listener::Health))
            .map(Endpoint::path)
            .collect();
        assert_eq!(shown, ["/livez", "/readyz", "/metrics"]);
        assert_eq!(route(Listener::Health, &Method::GET, "/v1/status"), Err(NoRoute::Path));
        assert_eq!(route(Listener::Health, &Method::POST, "/quitquitquit"), Err(NoRoute::Path));
    }

    #[test]
    fn whatever_is_not_a_look_needs_the_token() {
        for endpoint in Endpoint::ALL {
            for method in endpoint.allow().split(", ") {
                let method: Method = method.parse().unwrap();
                let look = method == Method::GET || method == Method::HEAD;
                assert_eq!(endpoint.needs_token(&method, false), !look, "{endpoint:?} {method}");
            }
        }
        assert!(Endpoint::Status.needs_token(&Method::GET, true));
        assert!(Endpoint::Page.needs_token(&Method::HEAD, true));
        assert!(!Endpoint::Readyz.needs_token(&Method::GET, true));
        assert!(!Endpoint::Metrics.needs_token(&Method::GET, true));
    }

    #[test]
    fn a_path_is_taken_literally() {
        for path in ["", "/livez/", "/LIVEZ", "//livez", "/v1", "/v1/status/x"] {
            assert_eq!(route(Listener::Admin, &Method::GET, path), Err(NoRoute::Path), "{path}");
        }
        for path in
            ["/v1/dead-letters//replay", "/v1/dead-letters/a/b/replay", "/v1/dead-letters/a"]
        {
            assert_eq!(route(Listener::Admin, &Method::POST, path), Err(NoRoute::Path), "{path}");
        }
        let path = "/v1/dead-letters/a.b-c/replay";
        assert_eq!(route(Listener::Admin, &Method::POST, path), Ok(Endpoint::Replay));
        assert_eq!(Endpoint::Replay.stream(path), Some("a.b-c"));
        let path = "/v1/streams/a/encryption";
        assert_eq!(route(Listener::Admin, &Method::PUT, path), Ok(Endpoint::Encryption));
        assert_eq!(Endpoint::Encryption.stream(path), Some("a"));
        assert_eq!(route(Listener::Health, &Method::GET, path), Err(NoRoute::Path));
        let wrong = route(Listener::Admin, &Method::DELETE, "/v1/log-level");
        assert_eq!(wrong, Err(NoRoute::Method(Endpoint::LogLevel)));
    }
}
