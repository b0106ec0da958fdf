use anyhow::{Context, Result};

use super::php_fpm::php_ini;
use super::{Program, listen_or_loopback};
use crate::{Launch, Listen, Place, apps};

/// Apache with the prefork module: a process for each connection. Serves the PHP application in the same process.
#[derive(Clone, Debug, Default)]
pub struct Apache {
    pub listen: Option<Listen>,
    pub service: Option<String>,
    /// Directory of `index.php`, as Apache sees it; none for the common contract's.
    pub root: Option<String>,
}

impl Program for Apache {
    fn name(&self) -> &str {
        "apache2"
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        let modules = "usr/lib/apache2/modules";
        let php = place
            .workloads
            .find(modules, |name| {
                name.starts_with("libphp") && name.ends_with(".so")
            })
            .context("the package libapache2-mod-php holds no module")?;
        php_ini(place)?;
        let text = format!(
            r#"ServerRoot {dir}
ServerName localhost
Listen {listen}
PidFile {dir}/apache.pid
ErrorLog /dev/stderr
DefaultRuntimeDir {dir}
Mutex file:{dir}
LoadModule mpm_prefork_module /{modules}/mod_mpm_prefork.so
LoadModule authz_core_module /{modules}/mod_authz_core.so
LoadModule dir_module /{modules}/mod_dir.so
LoadModule env_module /{modules}/mod_env.so
LoadModule mime_module /{modules}/mod_mime.so
LoadModule php_module {php}
PHPIniDir {dir}
User www-data
Group www-data
StartServers 4
MinSpareServers 2
MaxRequestWorkers 128
KeepAlive On
MaxKeepAliveRequests 0
SetEnv SERVICE {service}
TypesConfig /dev/null
DocumentRoot {app}
<Directory {app}>
  Require all granted
  FallbackResource /index.php
</Directory>
<FilesMatch "\.php$">
  SetHandler application/x-httpd-php
</FilesMatch>
"#,
            dir = place.inside().display(),
            listen = listen.text(),
            php = php.display(),
            service = self.service.as_deref().unwrap_or("apache"),
            app = self
                .root
                .clone()
                .unwrap_or_else(|| format!("{}/php", apps::DIR)),
        );
        let file = place.write("apache.conf", text)?;
        Ok(Launch::new(
            listen,
            ["/usr/sbin/apache2", "-f", &file, "-D", "FOREGROUND"],
        ))
    }
}
