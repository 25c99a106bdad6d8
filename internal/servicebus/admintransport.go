package servicebus

import (
	"net/http"
	"net/url"
)

// adminTransport carries the requests of the SDK's admin client, which all go to
// https at the namespace, to where the administration really is.
type adminTransport struct {
	http *http.Client
	to   *url.URL // nil: where the SDK says
}

// emulatorAdminPort is that of Microsoft's emulator.
const emulatorAdminPort = "5300"

func (c *Client) adminTransport() *adminTransport {
	t := &adminTransport{http: &http.Client{Transport: &http.Transport{Proxy: c.cfg.proxy(), TLSClientConfig: c.cfg.TLS}}}
	switch {
	case c.cfg.AdminURL != "":
		t.to, _ = url.Parse(c.cfg.AdminURL) // checked
	case c.ns.emulator:
		_, host := hostPort(c.ns.host, emulatorAdminPort)
		t.to = &url.URL{Scheme: "http", Host: host + ":" + emulatorAdminPort}
	}
	return t
}

func (t *adminTransport) Do(request *http.Request) (*http.Response, error) {
	if t.to != nil {
		request.URL.Scheme, request.URL.Host = t.to.Scheme, t.to.Host
		request.Host = ""
	}
	return t.http.Do(request)
}

func (t *adminTransport) close() { t.http.CloseIdleConnections() }
