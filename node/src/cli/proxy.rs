//! The flags of a proxy: which one, and who we say to be there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use spacetime_network::address::is_stand_in;
use spacetime_network::driver::store::read_bounded;
use spacetime_network::link::socks::{Credentials, Login, Proxy};

use crate::failure::{Failure, read_remedy};
use crate::value::{self, Endpoint};

/// How long looking up the name of the proxy itself may take.
const LOOKUP: Duration = Duration::from_secs(10);
/// The longest file with a password.
const PASSWORD_FILE_MAX: u64 = 4_096;

/// Whether others are dialed through a proxy.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ProxyArgs {
    /// Dial through this SOCKS5 proxy, as Tor is one at 127.0.0.1:9050, and never past it: names are looked up there alone, those in
    /// .onion too, no router is asked for a port, and nobody is told where we are; ip:port or name:port, which is looked up once
    #[arg(long, value_name = "HOST:PORT", help_heading = "Proxy")]
    pub(crate) proxy: Option<Endpoint>,
    /// With --proxy: the user name to log in with, where the proxy asks; needs --proxy-password
    #[arg(long, value_name = "NAME", help_heading = "Proxy")]
    pub(crate) proxy_user: Option<String>,
    /// With --proxy-user: file whose first line is the password
    #[arg(long, value_parser = value::path(), value_name = "FILE", help_heading = "Proxy")]
    pub(crate) proxy_password: Option<PathBuf>,
    /// With --proxy: log in with another user name for each destination, so that Tor takes another way to each
    #[arg(long, help_heading = "Proxy")]
    pub(crate) proxy_isolation: bool,
}

impl ProxyArgs {
    /// What they ask for together.
    pub(crate) fn plan(&self) -> Result<Option<Proxy>, Failure> {
        let login = match (&self.proxy_user, &self.proxy_password, self.proxy_isolation) {
            (None, None, false) => Login::Nobody,
            (None, None, true) => Login::PerDestination,
            (Some(user), Some(file), false) => Login::User(
                Credentials::new(user.as_str(), password(file)?)
                    .map_err(|error| Failure::usage(format_args!("--proxy-user and --proxy-password: {error}")))?,
            ),
            (_, _, true) => {
                return Err(Failure::usage(
                    "--proxy-isolation makes user names of its own, and --proxy-user gives one: give one or the other",
                ));
            }
            (_, _, false) => {
                return Err(Failure::usage("--proxy-user and --proxy-password go together: give both, or none"));
            }
        };
        let Some(endpoint) = &self.proxy else {
            return match login {
                Login::Nobody => Ok(None),
                _ => Err(Failure::usage(
                    "--proxy-user, --proxy-password and --proxy-isolation are for --proxy HOST:PORT, which was not given",
                )),
            };
        };
        // Its own name is the one that it cannot look up.
        let address: Option<SocketAddr> = endpoint.resolve(LOOKUP)?.first().copied();
        let address = address.ok_or_else(|| Failure::usage(format_args!("--proxy {endpoint} has no address")))?;
        let mut proxy = Proxy::new(address);
        proxy.login = login;
        Ok(Some(proxy))
    }
}

/// The first line of a file that only its owner should be able to read.
fn password(path: &Path) -> Result<String, Failure> {
    #[cfg(unix)]
    if std::fs::metadata(path)
        .is_ok_and(|found| std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o004 != 0)
    {
        tracing::warn!(file = %path.display(), "everybody on this machine can read the password of --proxy-password: chmod 600 it");
    }
    let operation = || format!("read the password in {}", path.display());
    let bytes = read_bounded(path, PASSWORD_FILE_MAX)
        .map_err(|error| Failure::new(operation(), &error, read_remedy(&error)))?
        .ok_or_else(|| Failure::new(operation(), "there is no such file", "make one with the password in it"))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::new(operation(), "it is not UTF-8", "write the password in that encoding"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// An [`Endpoint`], or the address that stands for a name where a proxy looks that up.
pub(crate) fn remembered(text: &str) -> Result<Endpoint, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if is_stand_in(address) => Ok(Endpoint::Address(address)),
        _ => text.parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(
        user: Option<&str>,
        password: Option<&[u8]>,
        isolation: bool,
        proxy: Option<&str>,
    ) -> Result<Option<Proxy>, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        if let Some(password) = password {
            std::fs::write(&file, password).unwrap();
        }
        let args = ProxyArgs {
            proxy: proxy.map(|proxy| proxy.parse().unwrap()),
            proxy_user: user.map(str::to_owned),
            proxy_password: password.map(|_| file),
            proxy_isolation: isolation,
        };
        args.plan().map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_password_is_the_first_line_of_a_file_and_goes_with_a_user() {
        let at = Some("127.0.0.1:9050");
        let mut expected = Proxy::new("127.0.0.1:9050".parse().unwrap());
        assert_eq!(plan(None, None, false, at), Ok(Some(expected.clone())));
        assert_eq!(plan(None, None, false, None), Ok(None));
        expected.login = Login::User(Credentials::new("me", "p w").unwrap());
        assert_eq!(plan(Some("me"), Some(b"p w\r\nmore"), false, at), Ok(Some(expected.clone())));
        expected.login = Login::PerDestination;
        assert_eq!(plan(None, None, true, at), Ok(Some(expected)));
    }

    #[test]
    fn flags_that_do_not_go_together_are_told_what_to_give() {
        let at = Some("127.0.0.1:9050");
        for (result, part) in [
            (plan(Some("me"), None, false, at), "go together"),
            (plan(None, Some(b"pw"), false, at), "go together"),
            (plan(Some("me"), Some(b"pw"), true, at), "give one or the other"),
            (plan(Some("me"), Some(b"\n"), false, at), "1 to 255 bytes"),
            (plan(Some("me"), Some(b"\xFF"), false, at), "UTF-8"),
            (plan(None, None, true, None), "for --proxy"),
            (plan(None, None, false, Some("a.onion:9050")), "give a proxy"),
        ] {
            let why = result.unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn what_stands_for_a_name_can_be_forgotten_and_not_be_dialed() {
        let name: Endpoint = "a.onion:7".parse().unwrap();
        let text = name.through_proxy().to_string();
        assert_eq!(remembered(&text), Ok(Endpoint::Address(name.through_proxy())));
        assert!(text.parse::<Endpoint>().unwrap_err().contains("reserved"));
        assert!(name.resolve(Duration::from_secs(60)).unwrap_err().to_string().contains("give a proxy"));
    }
}
