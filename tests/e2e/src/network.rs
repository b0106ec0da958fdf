//! Network name spaces joined by a pair of virtual interfaces, gone when dropped.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Two name spaces: `client` at `.1`, `server` at `.2` of one private network.
pub struct Pair {
    pub client: String,
    pub server: String,
}

impl Pair {
    /// `network`: the first three numbers, for instance `10.77.0`; pairs may share it, as pods of two clusters do.
    pub fn make(name: &str, network: &str) -> Result<Self> {
        let pair = Self {
            client: format!("weft-{name}-c"),
            server: format!("weft-{name}-s"),
        };
        for space in [&pair.client, &pair.server] {
            ip(&["netns", "add", space])?;
            ip(&["-n", space, "link", "set", "lo", "up"])?;
        }
        let (client, server) = (pair.client.as_str(), pair.server.as_str());
        ip(&[
            "link", "add", "eth0", "netns", client, "type", "veth", "peer", "name", "eth0",
            "netns", server,
        ])?;
        for (space, number) in [(client, 1), (server, 2)] {
            ip(&[
                "-n",
                space,
                "address",
                "add",
                &format!("{network}.{number}/24"),
                "dev",
                "eth0",
            ])?;
            ip(&["-n", space, "link", "set", "eth0", "up"])?;
        }
        Ok(pair)
    }

    /// `ip netns exec` in front of a command.
    pub fn within(space: &str, command: &Command) -> Command {
        let mut within = Command::new("ip");
        within
            .args(["netns", "exec", space])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => within.env(name, value),
                None => within.env_remove(name),
            };
        }
        within
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for space in [&self.client, &self.server] {
            ip(&["netns", "delete", space]).ok();
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("cannot run ip, of iproute2")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
