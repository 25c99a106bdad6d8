package api

// reloading is the calls that read the configuration anew.
func reloading() []endpoint { return nil }
