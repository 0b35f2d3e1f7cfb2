//! How a listener's socket is set up.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tine_os::socket::{DEFAULT_BACKLOG, TcpOptions, UdpOptions};

/// The smallest buffer worth asking for, in bytes; below it a number is a slip of the pen.
const SMALLEST_BUFFER: u32 = 512;

/// The largest payload a UDP datagram can announce, in bytes.
const LARGEST_DATAGRAM: usize = 65_535;

/// The longest a silent connection can be held back: what the kernel's retransmissions add up to.
const LONGEST_DEFERRAL: Duration = Duration::from_secs(3600);

/// How a listener's socket is set up. What does not apply to its kind is not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenOptions {
    /// Connections the kernel holds until a worker takes them; beyond that a client waits and tries again,
    /// it is not refused. Default 4096, because with 128 a burst loses its first packets and pays a second
    /// for each. Capped by `net.core.somaxconn`.
    pub backlog: u32,
    /// `SO_RCVBUF` in bytes, at least 512; TCP and UDP; accepted sockets inherit it. Default: the kernel's.
    pub receive_buffer: Option<u32>,
    /// `SO_SNDBUF` in bytes, at least 512; TCP and UDP; accepted sockets inherit it. Default: the kernel's.
    pub send_buffer: Option<u32>,
    /// How long a TCP connection on which the client has said nothing is kept away from the workers; rounded
    /// up to seconds. Not for protocols in which the server speaks first. Default: not at all.
    #[serde(with = "human")]
    pub defer_accept: Option<Duration>,
    /// `TCP_NODELAY` for every connection: a small answer leaves at once. Default true.
    pub nodelay: bool,
    /// `SO_KEEPALIVE` for every connection: a peer that vanished is noticed some day. Default true.
    pub keepalive: bool,
    /// TCP Fast Open: how many connections may be pending with data in their first packet. The kernel must
    /// have it on (`net.ipv4.tcp_fastopen`). Default: off.
    pub fast_open: Option<u32>,
    /// `IPV6_V6ONLY`. Default: off for the host `*`, which means both; on for `[::]` and everything else.
    /// On for `*` means two sockets instead of one.
    pub v6only: Option<bool>,
    /// Mode of a Unix socket's file; clients need the right to write to it. Default: what the umask leaves, which often
    /// is nothing for other users; 0600 where it has an owner.
    pub unix_mode: Option<u32>,
    /// Owner of a Unix socket's file, a uid. Default: whoever makes it.
    pub unix_uid: Option<u32>,
    /// Group of a Unix socket's file, a gid. Default: whoever makes it.
    pub unix_gid: Option<u32>,
    /// `SO_REUSEPORT`: other sockets with the same option and user may listen here too. Default false.
    pub reuse_port: bool,
    /// `IP_FREEBIND`: listen on an address the machine does not have yet. Default false.
    pub free_bind: bool,
    /// `SO_BROADCAST` for UDP: answers may go to broadcast addresses. Default false.
    pub broadcast: bool,
    /// The longest datagram a worker is given, in bytes; what is longer is cut. Default 65,535, all there can be.
    pub datagram_bytes: usize,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: DEFAULT_BACKLOG,
            receive_buffer: None,
            send_buffer: None,
            defer_accept: None,
            nodelay: true,
            keepalive: true,
            fast_open: None,
            v6only: None,
            unix_mode: None,
            unix_uid: None,
            unix_gid: None,
            reuse_port: false,
            free_bind: false,
            broadcast: false,
            datagram_bytes: LARGEST_DATAGRAM,
        }
    }
}

impl ListenOptions {
    /// Refuses what makes no sense before anything is bound.
    pub fn validate(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::config(text));
        if self.backlog == 0 {
            return refuse(
                "backlog must be at least 1: it is how many connections may wait".into(),
            );
        }
        for (name, value) in
            [("receive_buffer", self.receive_buffer), ("send_buffer", self.send_buffer)]
        {
            if let Some(bytes) = value.filter(|bytes| *bytes < SMALLEST_BUFFER) {
                return refuse(format!(
                    "{name} of {bytes} bytes is too small: at least {SMALLEST_BUFFER}, or leave it out for the kernel's"
                ));
            }
        }
        if self.datagram_bytes == 0 || self.datagram_bytes > LARGEST_DATAGRAM {
            return refuse(format!(
                "datagram_bytes must be between 1 and {LARGEST_DATAGRAM}, not {}",
                self.datagram_bytes
            ));
        }
        if let Some(time) =
            self.defer_accept.filter(|time| time.is_zero() || *time > LONGEST_DEFERRAL)
        {
            return refuse(format!(
                "defer_accept must be between 1s and 1h, not {}: leave it out to hand connections on at once",
                humantime::format_duration(time)
            ));
        }
        if self.fast_open == Some(0) {
            return refuse("fast_open must be at least 1: leave it out to turn it off".into());
        }
        match self.unix_mode {
            Some(mode) if mode > 0o777 => refuse(format!(
                "unix_mode {mode:#o} is not a file mode: write 0o660, 0o666 or another up to 0o777"
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn tcp(&self, v6only: bool) -> TcpOptions {
        TcpOptions {
            backlog: self.backlog,
            reuse_port: self.reuse_port,
            v6only,
            receive_buffer: self.receive_buffer,
            send_buffer: self.send_buffer,
            defer_accept: self.defer_accept,
            nodelay: self.nodelay,
            fast_open: self.fast_open,
            keepalive: self.keepalive,
            free_bind: self.free_bind,
        }
    }

    pub(super) fn udp(&self, v6only: bool) -> UdpOptions {
        UdpOptions {
            reuse_port: self.reuse_port,
            v6only,
            receive_buffer: self.receive_buffer,
            send_buffer: self.send_buffer,
            broadcast: self.broadcast,
            free_bind: self.free_bind,
        }
    }
}

/// Durations as people write them: `30s`, `1m 30s`.
mod human {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::Duration;

    // The shape is serde's: a reference to the field.
    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.collect_str(&humantime::format_duration(*time)),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text: Option<String> = Option::deserialize(from)?;
        text.map(|text| humantime::parse_duration(&text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(options: ListenOptions) -> String {
        let error = options.validate().unwrap_err();
        assert!(error.is_config());
        error.to_string()
    }

    #[test]
    fn a_backlog_of_none_is_refused() {
        let text = refusal(ListenOptions { backlog: 0, ..ListenOptions::default() });
        assert!(text.contains("at least 1"), "{text}");
    }

    #[test]
    fn buffers_under_512_bytes_are_refused() {
        for bytes in [0, 511] {
            let text =
                refusal(ListenOptions { receive_buffer: Some(bytes), ..ListenOptions::default() });
            assert!(text.starts_with("receive_buffer"), "{text}");
            let text =
                refusal(ListenOptions { send_buffer: Some(bytes), ..ListenOptions::default() });
            assert!(text.starts_with("send_buffer"), "{text}");
        }
        let least = ListenOptions {
            receive_buffer: Some(512),
            send_buffer: Some(512),
            ..ListenOptions::default()
        };
        least.validate().unwrap();
    }

    #[test]
    fn modes_deferrals_and_sizes_out_of_range_are_refused() {
        refusal(ListenOptions { unix_mode: Some(0o1777), ..ListenOptions::default() });
        refusal(ListenOptions { defer_accept: Some(Duration::ZERO), ..ListenOptions::default() });
        refusal(ListenOptions { datagram_bytes: 65_536, ..ListenOptions::default() });
        refusal(ListenOptions { fast_open: Some(0), ..ListenOptions::default() });
    }

    #[test]
    fn options_survive_being_written_and_read() {
        let options = ListenOptions {
            defer_accept: Some(Duration::from_secs(90)),
            unix_mode: Some(0o660),
            ..ListenOptions::default()
        };
        let text = serde_json::to_string(&options).unwrap();
        assert!(text.contains(r#""defer_accept":"1m 30s""#), "{text}");
        assert_eq!(serde_json::from_str::<ListenOptions>(&text).unwrap(), options);
        assert_eq!(serde_json::from_str::<ListenOptions>("{}").unwrap(), ListenOptions::default());
    }

    #[test]
    fn an_unknown_option_is_refused() {
        assert!(serde_json::from_str::<ListenOptions>(r#"{"backlogg":1}"#).is_err());
    }
}
