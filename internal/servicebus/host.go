package servicebus

// Host is the namespace's host name, without a port.
func (c *Client) Host() string {
	_, host := hostPort(c.ns.host, "")
	return host
}
