//! Ports that the operating system gave, and that it gives to nobody else for a while.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// A free port of 127.0.0.1.
///
/// One connection went through it and was closed by the listening side, so the port rests in
/// `TIME_WAIT`: the kernel hands it out neither for listening on port 0 nor for dialling, while a
/// server that binds it by number, with `SO_REUSEADDR` as servers do, succeeds.
pub fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let dialled = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let (accepted, _) = listener.accept()?;
    drop(accepted);
    drop(dialled);
    Ok(port)
}

/// `127.0.0.1:PORT` with a free port.
pub fn free_address() -> io::Result<String> {
    Ok(format!("127.0.0.1:{}", free_port()?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ports_are_different_and_can_be_bound() {
        let ports: HashSet<u16> = (0..64).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 64);
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }
}
