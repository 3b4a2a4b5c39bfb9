//! Asking a daemon over its socket whether it answers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// `GET /_ping`, which Docker and Podman both answer with 200.
///
/// # Errors
///
/// When nothing listens there, nothing answers in 5 s, or the answer is another one.
pub(crate) fn ping(socket: &Path) -> Result<()> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut head = [0_u8; 12];
    stream
        .read_exact(&mut head)
        .with_context(|| format!("read an answer from {}", socket.display()))?;
    if !head.starts_with(b"HTTP/1.") || &head[9..] != b"200" {
        bail!(
            "{} answers {:?}",
            socket.display(),
            String::from_utf8_lossy(&head)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    fn ask(answer: &'static str) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket)?;
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0_u8; 512];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let result = ping(&socket);
        server.join().unwrap();
        result
    }

    #[test]
    fn only_200_is_an_answer() {
        ask("HTTP/1.0 200 OK\r\n\r\nOK").unwrap();
        assert!(ask("HTTP/1.0 503 Service Unavailable\r\n\r\n").is_err());
        assert!(ask("hello").is_err());
    }

    #[test]
    fn a_socket_that_is_not_there_is_an_error() {
        assert!(ping(Path::new("/no/such.sock")).is_err());
    }
}
