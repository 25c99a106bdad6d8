package api

// UsageReader tells who used the broker, and how much.
type UsageReader any

// usage lists the calls of those who ask how much was used.
func usage() []endpoint { return nil }

// account follows every request, whatever became of it: the access log and the
// counts of usage.
func (c *call) account() {}
