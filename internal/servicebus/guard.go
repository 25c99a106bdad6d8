package servicebus

import (
	"errors"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

// errUnreadable: the SDK panicked on a message. It takes it for given that certain
// properties, which any sender can set, are strings (DeadLetterReason among them).
var errUnreadable = errors.New("the SDK cannot read a message")

// guarded calls the SDK for messages. Left alone, whoever may send could end the
// process.
func guarded(fn func() ([]*azservicebus.ReceivedMessage, error)) (got []*azservicebus.ReceivedMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			got, err = nil, fmt.Errorf("%w: %v", errUnreadable, p)
		}
	}()
	return fn()
}

// cautious is for how long messages are received one at a time after one that the
// SDK could not read. What comes in one call with it is lost to its receiver until
// its lock ends, which the service counts: alone, it is set aside by the queue after
// its last delivery, and takes no other with it.
const cautious = time.Hour

func (a *appetite) afraid() { a.careful.Store(time.Now().Add(cautious).UnixNano()) }
