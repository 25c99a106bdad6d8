package natsqueue

// Connected says whether the connection stands now.
func (d *driver) Connected() bool { return d.link.nc.IsConnected() }
