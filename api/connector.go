package api

// connector lists the calls behind the Power Platform connector.
func connector() []endpoint { return nil }
