//! A shim that speaks another version of the protocol: what every version must do, and no more.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::fixture::helper;

/// The program's first argument for it; the version and the directory follow.
pub(crate) const FLAG: &str = "--other-version";

/// Starts it, and returns when it accepts commands.
pub(crate) fn start(version: u32, dir: &Path) -> Child {
    let mut child = Command::new(helper())
        .arg(FLAG)
        .arg(version.to_string())
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let output = child.stdout.as_mut().unwrap();
    BufReader::new(output).read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    child
}

/// Runs as it.
pub(crate) fn serve(version: &OsStr, dir: &OsStr) -> io::Result<()> {
    let socket = Path::new(dir).join("sock");
    let listener = UnixListener::bind(&socket)?;
    println!("ready");
    let version = version.display();
    let pid = std::process::id();
    loop {
        let (stream, _) = listener.accept()?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let mut writer = stream;
        if lines.next().is_some() {
            writeln!(writer, r#"{{"hello":{version},"pid":{pid},"build":"9"}}"#)?;
        }
        while let Some(line) = lines.next().transpose()? {
            if line == r#"{"id":1,"request":"shutdown"}"# {
                writeln!(writer, r#"{{"id":1,"reply":"done"}}"#)?;
                return std::fs::remove_file(socket);
            }
        }
    }
}
