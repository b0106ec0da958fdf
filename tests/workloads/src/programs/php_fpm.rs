use anyhow::{Context, Result};

use super::{Program, listen_or_loopback};
use crate::{Launch, Listen, Place};

/// PHP's process manager; speaks FastCGI, so nginx or Apache stands before it.
#[derive(Clone, Debug, Default)]
pub struct PhpFpm {
    pub listen: Option<Listen>,
    pub service: Option<String>,
}

impl Program for PhpFpm {
    fn name(&self) -> &str {
        "php-fpm"
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        let binary = place
            .workloads
            .find("usr/sbin", |name| name.starts_with("php-fpm"))
            .context("the package php-fpm holds no program")?;
        let ini = php_ini(place)?;
        let text = format!(
            r#"[global]
error_log = /dev/stderr
daemonize = no
pid = {dir}/php-fpm.pid
[www]
user = www-data
group = www-data
listen = {listen}
listen.mode = 0666
pm = static
pm.max_children = 4
env[SERVICE] = {service}
"#,
            dir = place.inside().display(),
            listen = listen.text().trim_start_matches("unix:"),
            service = self.service.as_deref().unwrap_or("php-fpm"),
        );
        let file = place.write("php-fpm.conf", text)?;
        let binary = binary.display().to_string();
        Ok(
            Launch::new(listen, [&binary, "-F", "-y", &file, "-c", &ini])
                .env("PHP_INI_SCAN_DIR", ""),
        )
    }
}

/// Names the extensions: the packages' own list is made by a maintainer script, which did not run.
pub(super) fn php_ini(place: &Place<'_>) -> Result<String> {
    place.write("php.ini", "extension=curl.so\nopcache.enable=0\n")
}
