// Package notify tells the ends of messages over HTTP: it signs each callback as
// Standard Webhooks has it, and calls only addresses that may be called. That is
// decided when the connection is made, for the very address that it is made to:
// a name that leads elsewhere a moment later gains nothing.
package notify
