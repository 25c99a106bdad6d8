package api

// Subscriptions are who is called back when messages end.
type Subscriptions any

// subscriptions lists the calls of those who want to be called back.
func subscriptions() []endpoint { return nil }
