//! A thread of this room and what it shares with those who look: one for the data keys, one for the streams.
//!
//! The state lies behind a lock that is taken for looks and between calls, never over one, and never on the
//! way of a record. The thread has a runtime of its own, and ends with its handle.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, Weak};
use std::thread::JoinHandle;

use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// What the thread and those who look share.
pub(super) struct Shared<S> {
    #[expect(clippy::disallowed_types, reason = "beside the way of a record, never over a call")]
    state: std::sync::Mutex<S>,
    /// There may be something new to do.
    pub(super) wake: Notify,
    /// The thread is to end.
    pub(super) stop: Notify,
}

impl<S> Shared<S> {
    fn new(state: S) -> Self {
        #[expect(
            clippy::disallowed_types,
            reason = "beside the way of a record, never over a call"
        )]
        let state = std::sync::Mutex::new(state);
        Self { state, wake: Notify::new(), stop: Notify::new() }
    }

    /// Does something with the state. It must neither wait nor call anybody.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut S) -> T) -> T {
        // The state is not left half done by a panic, which ends the process anyway.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S> fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Looks at the state, from anywhere. Cloning gives another view of the same one.
pub(super) struct View<S> {
    pub(super) shared: Arc<Shared<S>>,
    /// Lives as long as the thread.
    alive: Weak<()>,
}

impl<S> View<S> {
    /// Whether the thread is there.
    pub(super) fn is_alive(&self) -> bool {
        self.alive.strong_count() > 0
    }
}

impl<S> Clone for View<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), alive: Weak::clone(&self.alive) }
    }
}

impl<S> fmt::Debug for View<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

/// The running thread. Dropping it ends the thread and waits for that.
pub(super) struct Running<S> {
    view: View<S>,
    thread: Option<JoinHandle<()>>,
}

impl<S> fmt::Debug for Running<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl<S: Send + 'static> Running<S> {
    /// Starts the thread `name`, which does `work` until it is told to stop.
    ///
    /// # Errors
    /// When the operating system gives no thread, or its runtime no event queue.
    pub(super) fn start(
        name: &str,
        state: S,
        work: impl FnOnce(Arc<Shared<S>>, &Runtime) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(state));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let life = Arc::new(());
        let view = View { shared: Arc::clone(&shared), alive: Arc::downgrade(&life) };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _life = life;
            work(shared, &runtime);
            // A name that is being looked up is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { view, thread: Some(thread) })
    }
}

impl<S> Running<S> {
    /// Looks from elsewhere.
    pub(super) const fn view(&self) -> &View<S> {
        &self.view
    }
}

impl<S> Drop for Running<S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.view.shared.stop.notify_one();
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            // It has ended the process already, or ends this thread now.
            std::panic::resume_unwind(panic);
        }
    }
}
