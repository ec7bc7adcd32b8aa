//! The handshake with a SOCKS5 upstream.

use tokio_socks::tcp::Socks5Stream;
use tokio_socks::{Error, TargetAddr};

use super::refusal::Failure;
use super::stream::Duplex;
use super::target::Target;

/// Requests a connection to a target, with name and password if a name is set.
///
/// # Errors
///
/// Fails with the upstream's cause: credentials, a refusal, or an answer that is not SOCKS5.
pub async fn connect(
    stream: Box<dyn Duplex>,
    target: &Target,
    username: &str,
    password: &str,
) -> Result<Box<dyn Duplex>, Failure> {
    let address = match target.address() {
        Some(address) => TargetAddr::Ip((address, target.port).into()),
        None => TargetAddr::Domain(target.name.as_str().into(), target.port),
    };
    let connected = if username.is_empty() {
        Socks5Stream::connect_with_socket(stream, address).await
    } else {
        Socks5Stream::connect_with_password_and_socket(stream, address, username, password).await
    };
    connected.map(Socks5Stream::into_inner).map_err(failure)
}

fn failure(error: Error) -> Failure {
    match error {
        Error::PasswordAuthFailure(_)
        | Error::InvalidAuthValues(_)
        | Error::AuthorizationRequired
        | Error::NoAcceptableAuthMethods
        | Error::IdentdAuthFailure
        | Error::InvalidUserIdAuthFailure => Failure::UpstreamCredentials,
        Error::GeneralSocksServerFailure
        | Error::ConnectionNotAllowedByRuleset
        | Error::NetworkUnreachable
        | Error::HostUnreachable
        | Error::ConnectionRefused
        | Error::TtlExpired
        | Error::CommandNotSupported
        | Error::AddressTypeNotSupported
        | Error::InvalidTargetAddress(_) => Failure::UpstreamRefused(error.to_string()),
        Error::ProxyServerUnreachable => Failure::UpstreamUnreachable(error.to_string()),
        // The upstream had accepted the TCP connection.
        Error::Io(_) => {
            Failure::UpstreamProtocol("the upstream proxy closed the connection".to_owned())
        }
        Error::ParseError(_)
        | Error::InvalidResponseVersion
        | Error::UnknownAuthMethod
        | Error::UnknownError
        | Error::InvalidReservedByte
        | Error::UnknownAddressType => Failure::UpstreamProtocol(error.to_string()),
    }
}
