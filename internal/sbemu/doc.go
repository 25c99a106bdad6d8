// Package sbemu is a double of Azure Service Bus: an AMQP 1.0 peer for its queues
// in this process, that Microsoft's SDKs work against with no Azure. It is for
// tests and for trials on one machine: what it holds is gone when it ends.
//
// The queues themselves are package entity; the bytes are package wire. Here are
// connections, sessions and links, tokens and rights, the management of messages,
// and hooks that make it fail the way the service and networks do.
//
// One TCP port serves AMQP, AMQP over WebSockets, HTTP, and each of them inside
// TLS. Whatever a peer can make grow has a limit (Limits).
package sbemu
