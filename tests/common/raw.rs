//! A client outside the library, on a plain socket: it publishes any bytes as subject, headers and body.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

/// A connection.
pub struct RawSocket {
    to: TcpStream,
    from: BufReader<TcpStream>,
}

impl RawSocket {
    /// Connects to the server at this port of the loopback.
    pub fn connect(port: u16) -> RawSocket {
        let to = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let from = BufReader::new(to.try_clone().unwrap());
        let mut socket = RawSocket { to, from };
        socket.to.write_all(b"CONNECT {\"headers\":true,\"verbose\":false}\r\n").unwrap();
        socket.flush();
        socket
    }

    /// Publishes; `headers` is the whole block, version line and end included.
    pub fn publish(&mut self, subject: &[u8], headers: &[u8], body: &[u8]) {
        let mut frame = [b"HPUB ", subject].concat();
        frame.extend(format!(" {} {}\r\n", headers.len(), headers.len() + body.len()).bytes());
        frame.extend([headers, body, b"\r\n"].concat());
        self.to.write_all(&frame).unwrap();
    }

    /// Waits until the server has taken all that was published.
    pub fn flush(&mut self) {
        self.to.write_all(b"PING\r\n").unwrap();
        let mut line = String::new();
        while !line.starts_with("PONG") {
            line.clear();
            assert!(self.from.read_line(&mut line).unwrap() > 0, "the server has closed the connection");
            assert!(!line.starts_with("-ERR"), "{line}");
        }
    }
}
