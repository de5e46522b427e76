//! Somebody on this machine who is told about runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::Value;

/// One request.
pub struct Request {
    /// Method and path.
    pub line: String,
    /// In lower case, with what they are called.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {:?}", self.body))
    }
}

/// Answers every request in the same way.
pub struct Listener {
    pub url: String,
    requests: Receiver<Request>,
}

impl Listener {
    /// Answers with a status such as `200 OK`.
    pub fn new(status: &'static str) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", socket.local_addr().expect("an address"));
        let (tell, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in socket.incoming().map_while(Result::ok) {
                let Some(request) = read(&stream) else { continue };
                if tell.send(request).is_err() {
                    break;
                }
                let answer =
                    format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nLocation: /there\r\n\r\n{{}}");
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        Self { url, requests }
    }

    /// Returns the next request; there must be one.
    pub fn next(&self) -> Request {
        self.requests.recv_timeout(Duration::from_secs(20)).expect("a request")
    }

    /// Returns how many requests nobody has looked at. The program has ended by now.
    pub fn left(&self) -> usize {
        self.requests.try_iter().count()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim_end() {
            "" => break,
            header => headers.push(header.to_lowercase()),
        }
    }
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")?.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { line: line.trim_end().to_owned(), headers, body })
}

/// Takes connections and never answers. The socket has to be kept.
pub fn silent() -> (TcpListener, String) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", socket.local_addr().expect("an address"));
    (socket, url)
}

/// A URL on which nobody listens.
pub fn nobody() -> String {
    silent().1
}
