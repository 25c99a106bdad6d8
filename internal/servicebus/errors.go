package servicebus

import (
	"context"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/Azure/go-amqp"
)

// The kinds of errors. What a method returns wraps one of them, or is the
// context's.
var (
	ErrClosed       = errors.New("the connection to Service Bus is closed")
	ErrLockLost     = errors.New("the lock has ended, or its message was settled")
	ErrTooLarge     = errors.New("too large for the queue")
	ErrNotFound     = errors.New("there is no such queue in the namespace")
	ErrUnauthorized = errors.New("Service Bus refuses these credentials, or this right") //nolint:staticcheck // a name
	ErrThrottled    = errors.New("Service Bus is busy")                                  //nolint:staticcheck // a name
	ErrUnavailable  = errors.New("Service Bus cannot be reached")                        //nolint:staticcheck // a name
)

// kindOf names the kind of an error of the SDK.
func kindOf(err error) error {
	if errors.Is(err, azservicebus.ErrMessageTooLarge) {
		return ErrTooLarge
	}
	if sdk, ok := errors.AsType[*azservicebus.Error](err); ok {
		switch sdk.Code {
		case azservicebus.CodeUnauthorizedAccess:
			return ErrUnauthorized
		case azservicebus.CodeNotFound:
			return ErrNotFound
		case azservicebus.CodeLockLost:
			return ErrLockLost
		case azservicebus.CodeClosed:
			return ErrClosed
		}
	}
	// What comes from attaching a link is not translated by the SDK.
	if raw, ok := errors.AsType[*amqp.Error](err); ok {
		switch raw.Condition {
		case amqp.ErrCondNotFound:
			return ErrNotFound
		case amqp.ErrCondUnauthorizedAccess:
			return ErrUnauthorized
		case amqp.ErrCondMessageSizeExceeded:
			return ErrTooLarge
		case "com.microsoft:server-busy":
			return ErrThrottled
		case "com.microsoft:message-lock-lost", "com.microsoft:session-lock-lost":
			return ErrLockLost
		}
	}
	return ErrUnavailable
}

// wrap names the kind of an error, and what was asked for. The context's own
// errors stay as they are.
func wrap(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return fmt.Errorf("%s: %w: %w", what, kindOf(err), err)
	}
}
