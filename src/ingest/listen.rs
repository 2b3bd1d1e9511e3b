//! The listening sockets: bound before anything runs, so that a used address ends the start.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections wait to be accepted.
const BACKLOG: i32 = 1_024;

/// Who may connect to the Unix socket: its owner and its group.
const UNIX_SOCKET_MODE: u32 = 0o660;

/// Why an address can not be listened on.
#[derive(Debug)]
pub struct ListenError {
    address: String,
    error: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, error } = self;
        match error.kind() {
            ErrorKind::AddrInUse => write!(
                f,
                "the data listener can not have {address}: another process has it; stop that one or \
                 set ingest.listen or ingest.unix_socket to another address"
            ),
            ErrorKind::AlreadyExists => write!(
                f,
                "the data listener can not have {address}: there is a file that is no socket; move it \
                 away or set ingest.unix_socket to another path"
            ),
            ErrorKind::PermissionDenied => write!(
                f,
                "the data listener may not have {address} ({error}); use a port above 1023 or a \
                 directory that this user can write to"
            ),
            _ => write!(f, "the data listener can not have {address}: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// A TCP listener for each worker, all on the same address.
pub(super) fn tcp(
    address: SocketAddr,
    workers: u16,
) -> Result<Vec<std::net::TcpListener>, ListenError> {
    let failed = |error| ListenError { address: address.to_string(), error };
    if workers <= 1 {
        return Ok(vec![bind(address, false).map_err(failed)?]);
    }
    // With SO_REUSEPORT a second process would silently get half of the connections. An exclusive
    // socket, had for a moment, shows that nobody else is there, and which port it is if none was named.
    let probe = bind(address, false).map_err(failed)?;
    let address = probe.local_addr().map_err(failed)?;
    drop(probe);
    (0..workers).map(|_| bind(address, true).map_err(failed)).collect()
}

fn bind(address: SocketAddr, is_shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if is_shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A Unix socket, for one worker. Its file goes with the last handle, and before the last listener: whoever
/// comes then finds nobody, and another process that takes the path keeps it.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) file: Arc<SocketFile>,
    pub(super) listener: UnixListener,
}

impl UnixSocket {
    pub(super) fn bind(path: &Path) -> Result<Self, ListenError> {
        let failed = |error| ListenError { address: path.display().to_string(), error };
        // A socket that nobody listens on is what a killed process leaves. The system refuses a connection
        // to any other file in the same words: that one is somebody's, and stays where it is.
        let is_socket = std::fs::symlink_metadata(path).map(|file| file.file_type().is_socket());
        match (UnixStream::connect(path), is_socket) {
            (Ok(_), _) => return Err(failed(ErrorKind::AddrInUse.into())),
            (Err(error), Ok(true)) if error.kind() == ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            (Err(_), Ok(false)) => return Err(failed(ErrorKind::AlreadyExists.into())),
            (Err(_), _) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let socket = Self { file: Arc::new(SocketFile { path: path.to_owned() }), listener };
        socket.listener.set_nonblocking(true).map_err(failed)?;
        let mode = std::fs::Permissions::from_mode(UNIX_SOCKET_MODE);
        std::fs::set_permissions(path, mode).map_err(failed)?;
        Ok(socket)
    }

    /// Another handle to the same socket, for another worker.
    pub(super) fn handle(&self) -> Result<Self, ListenError> {
        let address = self.file.path.display().to_string();
        let listener = self.listener.try_clone().map_err(|error| ListenError { address, error })?;
        Ok(Self { file: Arc::clone(&self.file), listener })
    }
}

/// The file of a Unix socket, removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the unix socket stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_port_and_another_process_is_noticed() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listeners = tcp(any, 3).unwrap();
        let address = listeners[0].local_addr().unwrap();
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == address));
        for workers in [1, 2] {
            let error = tcp(address, workers).unwrap_err().to_string();
            assert!(error.contains("another process has it"), "{error}");
        }
    }

    #[test]
    fn a_dead_unix_socket_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = UnixSocket::bind(&path).unwrap();
        let error = UnixSocket::bind(&path).unwrap_err().to_string();
        assert!(error.contains("another process has it"), "{error}");
        let handle = socket.handle().unwrap();
        drop(socket);
        UnixStream::connect(&path).unwrap();
        drop(handle);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [directory.path(), &file, &link] {
            let error = UnixSocket::bind(path).unwrap_err().to_string();
            assert!(error.contains("is no socket"), "{error}");
        }
        assert_eq!(std::fs::read(&link).unwrap(), b"precious");
    }
}
