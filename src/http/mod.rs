//! The HTTP API, the WebSockets and the pages.
