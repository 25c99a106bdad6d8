package api

// Events is what became of messages, for hosts that cannot be called.
type Events any

// events lists the calls of those who ask what became of messages.
func events() []endpoint { return nil }
