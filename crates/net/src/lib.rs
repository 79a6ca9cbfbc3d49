//! Sockets with std::io traits that park the goroutine.
