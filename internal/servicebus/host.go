package servicebus

// HostName is the namespace's host name, without a port.
func (c *Client) HostName() string {
	_, host := hostPort(c.ns.host, "")
	return host
}
