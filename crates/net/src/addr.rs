//! Addresses: what needs a name server, and what does not.
//!
//! `std::net::ToSocketAddrs` looks names up while it converts, which blocks the thread and with it
//! every goroutine on it; and from outside one cannot tell whether a value will do so. Hence a
//! trait of our own, implemented for the same types, which only says what is asked for. A host
//! name is then looked up on the blocking pool, and everything else costs nothing.

use millpond_rt::Context;
use std::io;
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs as _,
};

/// What a value of type [`ToSocketAddrs`] names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One address.
    One(SocketAddr),
    /// Addresses to be tried in turn.
    Many(Vec<SocketAddr>),
    /// A host name, to be looked up.
    Host {
        /// The name.
        name: String,
        /// The port at each of its addresses.
        port: u16,
    },
}

/// Values that name socket addresses: the types for which `std` has its trait of this name.
pub trait ToSocketAddrs {
    /// What the value names. Does not look names up.
    ///
    /// # Errors
    /// `InvalidInput` for a text that is not `address:port` or `name:port`.
    fn to_target(&self) -> io::Result<Target>;
}

macro_rules! one_address {
    ($($type:ty),*) => {$(
        impl ToSocketAddrs for $type {
            fn to_target(&self) -> io::Result<Target> {
                Ok(Target::One(SocketAddr::from(*self)))
            }
        }
    )*};
}

one_address!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

impl ToSocketAddrs for (&str, u16) {
    fn to_target(&self) -> io::Result<Target> {
        let (name, port) = *self;
        Ok(match name.parse::<IpAddr>() {
            Ok(ip) => Target::One(SocketAddr::new(ip, port)),
            Err(_) => Target::Host { name: name.to_owned(), port },
        })
    }
}

impl ToSocketAddrs for (String, u16) {
    fn to_target(&self) -> io::Result<Target> {
        (self.0.as_str(), self.1).to_target()
    }
}

impl ToSocketAddrs for str {
    fn to_target(&self) -> io::Result<Target> {
        if let Ok(addr) = self.parse() {
            return Ok(Target::One(addr));
        }
        let parts = self.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
        match parts {
            Some((name, port)) if !name.is_empty() => (name, port).to_target(),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("socket address: expected ADDRESS:PORT or NAME:PORT, found {self:?}"),
            )),
        }
    }
}

impl ToSocketAddrs for String {
    fn to_target(&self) -> io::Result<Target> {
        self.as_str().to_target()
    }
}

impl ToSocketAddrs for [SocketAddr] {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::Many(self.to_vec()))
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    fn to_target(&self) -> io::Result<Target> {
        (**self).to_target()
    }
}

/// Addresses to be tried in turn; at least one unless an error was returned.
#[derive(Debug)]
pub(crate) enum Addrs {
    One(SocketAddr),
    Many(Vec<SocketAddr>),
}

impl Addrs {
    fn some(addrs: Vec<SocketAddr>) -> io::Result<Self> {
        if addrs.is_empty() {
            let message = "socket address: expected at least one, found none";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(Self::Many(addrs))
    }

    pub(crate) fn as_slice(&self) -> &[SocketAddr] {
        match self {
            Self::One(addr) => std::slice::from_ref(addr),
            Self::Many(addrs) => addrs,
        }
    }

    /// `attempt` on each until one succeeds; the last error.
    pub(crate) fn first_ok<T>(
        &self,
        mut attempt: impl FnMut(&SocketAddr) -> io::Result<T>,
    ) -> io::Result<T> {
        let (last, others) = self.as_slice().split_last().expect("never empty");
        for addr in others {
            if let Ok(value) = attempt(addr) {
                return Ok(value);
            }
        }
        attempt(last)
    }
}

/// The addresses behind `target`. A host name is looked up on the blocking pool: parks.
pub(crate) fn resolve(target: impl ToSocketAddrs) -> io::Result<Addrs> {
    match target.to_target()? {
        Target::One(addr) => Ok(Addrs::One(addr)),
        Target::Many(addrs) => Addrs::some(addrs),
        Target::Host { name, port } => {
            Addrs::some(millpond_rt::blocking(move || look_up(&name, port))?)
        }
    }
}

/// As [`resolve`], until `ctx` is done.
pub(crate) fn resolve_ctx(ctx: &Context, target: impl ToSocketAddrs) -> io::Result<Addrs> {
    match target.to_target()? {
        Target::One(addr) => Ok(Addrs::One(addr)),
        Target::Many(addrs) => Addrs::some(addrs),
        Target::Host { name, port } => {
            Addrs::some(millpond_rt::blocking_ctx(ctx, move || look_up(&name, port))??)
        }
    }
}

/// The twin of [`resolve`] for tasks.
pub(crate) async fn resolve_async(target: impl ToSocketAddrs) -> io::Result<Addrs> {
    match target.to_target()? {
        Target::One(addr) => Ok(Addrs::One(addr)),
        Target::Many(addrs) => Addrs::some(addrs),
        Target::Host { name, port } => {
            Addrs::some(millpond_rt::blocking_async(move || look_up(&name, port)).await?)
        }
    }
}

/// Asks the system's resolver. Blocks the thread.
fn look_up(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match (name, port).to_socket_addrs() {
        Ok(addrs) => Ok(addrs.collect()),
        Err(error) => Err(io::Error::new(error.kind(), format!("look up {name:?}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_addresses_need_no_look_up() {
        let four: SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert_eq!("127.0.0.1:80".to_target().unwrap(), Target::One(four));
        assert_eq!(("127.0.0.1", 80).to_target().unwrap(), Target::One(four));
        assert_eq!((Ipv4Addr::LOCALHOST, 80).to_target().unwrap(), Target::One(four));
        let six: SocketAddr = "[::1]:80".parse().unwrap();
        assert_eq!(String::from("[::1]:80").to_target().unwrap(), Target::One(six));
        assert_eq!([four, six][..].to_target().unwrap(), Target::Many(vec![four, six]));
    }

    #[test]
    fn names_are_left_for_the_look_up() {
        let host = Target::Host { name: "localhost".into(), port: 80 };
        assert_eq!("localhost:80".to_target().unwrap(), host);
        assert_eq!((String::from("localhost"), 80).to_target().unwrap(), host);
        let addrs = resolve("localhost:80").unwrap();
        assert!(addrs.as_slice().iter().all(|addr| addr.ip().is_loopback() && addr.port() == 80));
    }

    #[test]
    fn bad_addresses_are_told_as_they_were_given() {
        for bad in ["", "localhost", ":80", "localhost:", "localhost:99999", "1.2.3.4"] {
            let error = bad.to_target().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
        assert_eq!(resolve(&[][..]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn the_last_error_is_the_one_returned() {
        let addrs = resolve(&["1.1.1.1:1".parse().unwrap(), "2.2.2.2:2".parse().unwrap()][..]);
        let error =
            addrs.unwrap().first_ok(|addr| Err::<(), _>(io::Error::other(addr.to_string())));
        assert_eq!(error.unwrap_err().to_string(), "2.2.2.2:2");
    }
}
