//! The logs: one subscriber for the process, text for people or JSON for programs, always to stderr.
//!
//! Stdout is never written to, and no payload or key is ever handed to a log call. Nobody who logs waits
//! for stderr: `lines` does.

use std::fmt;
use std::io::IsTerminal as _;

use tokio::sync::watch;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::filter::{BadFilter, parse_filter};
use super::lines::Lines;
use super::{Config, LogFormat};

/// Installs the process's logs.
///
/// # Errors
///
/// When the filter is none, when the process has a subscriber already, or when there is no thread.
pub fn install(config: &Config) -> Result<LevelHandle, InstallError> {
    let terminal = std::io::stderr().is_terminal();
    let look = Look::of(config.format, terminal, |name| std::env::var_os(name).is_some());
    let lines = Lines::to_stderr().map_err(InstallError::Thread)?;
    let (subscriber, level) = build(&config.filter, look, lines).map_err(InstallError::Filter)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InstallError::Installed)?;
    Ok(level)
}

/// A subscriber that writes to `writer`, and the handle to its filter.
///
/// # Errors
///
/// When `filter` is none.
pub fn build<W>(
    filter: &str,
    look: Look,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LevelHandle), BadFilter>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (layer, reload) = reload::Layer::new(parse_filter(filter)?);
    // A line that can not be written must not become a panic: `eprintln!` panics when stderr is gone.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let lines: Box<dyn Layer<_> + Send + Sync> = match look {
        Look::Text { colours } => Box::new(lines.with_ansi(colours)),
        Look::Json => Box::new(lines.json().flatten_event(true).with_span_list(false)),
    };
    let level = LevelHandle { reload, filter: watch::Sender::new(filter.trim().to_owned()) };
    Ok((Registry::default().with(layer).with(lines), level))
}

/// How lines look, when it is known where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// For people.
    Text {
        /// Whether levels have colours.
        colours: bool,
    },
    /// One object a line.
    Json,
}

impl Look {
    /// The look of `format` on a `terminal` or elsewhere. `has_env` says whether a variable is set.
    #[must_use]
    pub fn of(format: LogFormat, terminal: bool, has_env: impl Fn(&str) -> bool) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Auto if !terminal => Self::Json,
            LogFormat::Auto | LogFormat::Text => {
                Self::Text { colours: terminal && !has_env("NO_COLOR") }
            }
        }
    }
}

/// The filter of the logs while they run. Cloning gives another handle to the same one.
#[derive(Debug, Clone)]
pub struct LevelHandle {
    reload: reload::Handle<EnvFilter, Registry>,
    filter: watch::Sender<String>,
}

impl LevelHandle {
    /// The directives as they were written.
    #[must_use]
    pub fn filter(&self) -> String {
        self.filter.borrow().clone()
    }

    /// Logs what `directives` say from now on.
    ///
    /// # Errors
    ///
    /// When they are no filter, or the subscriber is gone; the old filter stays.
    pub fn set(&self, directives: &str) -> Result<(), BadFilter> {
        let filter = parse_filter(directives)?;
        self.reload.reload(filter).map_err(|error| BadFilter::gone(&error))?;
        let _old = self.filter.send_replace(directives.trim().to_owned());
        Ok(())
    }
}

/// Why there are no logs.
#[derive(Debug)]
pub enum InstallError {
    /// The configured filter is none.
    Filter(BadFilter),
    /// The process has a subscriber already.
    Installed,
    /// The system gives no thread.
    Thread(std::io::Error),
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(why) => write!(f, "the log filter can not be used: {why}"),
            Self::Installed => f.write_str("logs are installed once for a process"),
            Self::Thread(error) => write!(f, "the thread of the logs can not be started: {error}"),
        }
    }
}

impl std::error::Error for InstallError {}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone)]
    struct Lines(crossbeam_channel::Sender<Vec<u8>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `act` writes under `filter`.
    fn logged(filter: &str, look: Look, act: impl FnOnce(&LevelHandle)) -> Vec<String> {
        let (sender, lines) = crossbeam_channel::unbounded();
        let sender = Arc::new(sender);
        let writer = move || Lines((*sender).clone());
        let (subscriber, level) = build(filter, look, writer).unwrap();
        tracing::subscriber::with_default(subscriber, || act(&level));
        lines.try_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn a_json_line_has_its_fields_at_the_top() {
        let lines = logged("info", Look::Json, |_| {
            tracing::info!(stream = "orders", records = 3_u64, "batch delivered");
            tracing::debug!("not asked for");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["message"], "batch delivered");
        assert_eq!(line["stream"], "orders");
        assert_eq!(line["records"], 3);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "standpipe::telemetry::logs::tests");
        let time = line["timestamp"].as_str().unwrap();
        // RFC 3339 in UTC, with a fraction: 2026-01-02T03:04:05.678901Z.
        assert_eq!(time.len(), 27, "{time}");
        assert!(time.ends_with('Z') && time.chars().nth(10) == Some('T'), "{time}");
    }

    #[test]
    fn a_line_for_people_has_colours_on_a_terminal_alone() {
        let text = |colours| {
            logged("info", Look::Text { colours }, |_| tracing::info!(port = 1, "listening"))
                .concat()
        };
        assert!(text(false).contains("listening port=1"), "{}", text(false));
        assert!(!text(false).contains('\u{1b}'));
        assert!(text(true).contains('\u{1b}'));
    }

    #[test]
    fn the_look_follows_the_terminal_unless_it_is_set() {
        let look = |format, terminal| Look::of(format, terminal, |_| false);
        assert_eq!(look(LogFormat::Auto, true), Look::Text { colours: true });
        assert_eq!(look(LogFormat::Auto, false), Look::Json);
        assert_eq!(look(LogFormat::Text, false), Look::Text { colours: false });
        assert_eq!(look(LogFormat::Json, true), Look::Json);
        let no_colour = Look::of(LogFormat::Auto, true, |name| name == "NO_COLOR");
        assert_eq!(no_colour, Look::Text { colours: false });
    }

    #[test]
    fn the_filter_changes_while_the_process_runs_and_a_bad_one_changes_nothing() {
        let lines = logged("warn", Look::Json, |level| {
            tracing::info!("one");
            level.set("info").unwrap();
            tracing::info!("two");
            assert!(level.set("lots").is_err());
            assert_eq!(level.filter(), "info");
            tracing::info!("three");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("two") && lines[1].contains("three"));
    }
}
