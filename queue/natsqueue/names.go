package natsqueue

import (
	"strings"
	"time"

	"ferry/queue"
)

// The streams, and what lies in them: one for the messages of all routes, with a
// subject and a durable consumer per route, and one for the receipts, with a
// subject per worker, so that the subject tells who sent it.
const (
	messageStream    = "FERRY_MSG"
	messageSubject   = "ferry.msg."
	receiptStream    = "FERRY_RCPT"
	receiptSubject   = "ferry.receipt."
	receiptConsumer  = "broker"
	askSubject       = "ferry.ask."
	signalSubject    = "ferry.signal."
	nextSubject      = "$JS.API.CONSUMER.MSG.NEXT."
	infoSubject      = "$JS.API.CONSUMER.INFO."
	accountSubject   = "$JS.API.INFO"
	inboxOf          = "ferry.inbox." // below ferry., so that one line of rights covers those of all workers
	brokerName       = "-broker"      // no worker can have this name
	idHeader         = "Nats-Msg-Id"
	maxData          = 1 << 20
	protocolHeadRoom = 64 << 10 // headers and subject of a packet, above maxData
)

// Defaults of ServerOptions.
const (
	DefaultLock            = 30 * time.Second
	DefaultDuplicateWindow = 10 * time.Second
	DefaultMaxStoreBytes   = 4 << 30
	DefaultMaxAckPending   = 10_000
)

// channelNames are the names of one address.
type channelNames struct{ stream, consumer, subject string }

func namesOf(address queue.Address, worker string) channelNames {
	if address.Kind == queue.Receipts {
		return channelNames{receiptStream, receiptConsumer, receiptSubject + worker}
	}
	return channelNames{messageStream, address.Name, messageSubject + address.Name}
}

// filter is what the consumer of the address reads.
func (n channelNames) filter() string {
	if n.stream == receiptStream {
		return receiptSubject + "*"
	}
	return n.subject
}

func (n channelNames) next() string { return nextSubject + n.stream + "." + n.consumer }

// lastToken is who sent, in subjects that end in the worker's name; empty for
// the broker itself.
func lastToken(subject string) string {
	name := subject[strings.LastIndexByte(subject, '.')+1:]
	if name == brokerName {
		return ""
	}
	return name
}
