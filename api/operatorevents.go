package api

// operatorEvents is what operators are told of by themselves.
func operatorEvents() []endpoint { return nil }
