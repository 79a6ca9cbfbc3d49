//! Pure arithmetic for the decisions of Millpond: no clock, no I/O, no unsafe code.
