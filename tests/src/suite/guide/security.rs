//! The examples of the guide's chapters on TLS and logging in.

use zk_client::{
    Client, Error, Handler, TlsOptions, rustls,
    sasl::{GssapiOptions, SaslOptions, UserPassword},
};

use crate::{
    Certificates, Demand, Holder, TlsProxy, server_config,
    suite::{context::TestContext, shared_server::shared_server},
};

pub async fn tls<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler.clone());
    let files = Certificates::shared();
    let (certificate, key) = (files.chain(Holder::Client), files.key(Holder::Client));
    let ca = files.authority();
    let versions = rustls::ALL_VERSIONS;
    let config = server_config(Holder::Server, Demand::Certificate, versions);
    let server = TlsProxy::new(shared_server().address(), config);
    let hosts = format!("localhost:{}", server.address().port());
    let run = async {
        // guide: TLS
        let tls = TlsOptions::new().authorities_file(&ca).identity_files(&certificate, &key);
        let zk = Client::builder().hosts(&hosts).tls(tls).connect_on(handler.clone()).await?;
        // end
        zk.stop().await
    };
    ctx.ok("the example", run).await;
}

pub async fn logging_in<H: Handler>(handler: H) {
    let run = || {
        // guide: sasl
        let login = SaslOptions::digest_md5_with(|| {
            let password = std::fs::read_to_string("/run/secrets/zookeeper")?;
            Ok::<_, std::io::Error>(UserPassword::new("app", password.trim_end()))
        });
        let zk = Client::builder().hosts("zk1,zk2").sasl(login).build_on(handler.clone())?;
        // end
        Ok::<_, Error>(zk)
    };
    run().expect("good options");
}

pub async fn kerberos<H: Handler>(handler: H) {
    let run = || {
        // guide: kerberos
        let options = GssapiOptions::new().principal("app@EXAMPLE.ORG");
        let zk = Client::builder()
            .hosts("zk1.example.org,zk2.example.org")
            .sasl(SaslOptions::gssapi(options))
            .build_on(handler.clone())?;
        // end
        Ok::<_, Error>(zk)
    };
    run().expect("good options");
}
