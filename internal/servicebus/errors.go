package servicebus

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/Azure/go-amqp"
)

// The kinds of errors. What a method returns wraps one of them, or is the
// context's. ErrUnavailable and ErrThrottled pass; of the others, only ErrFull does.
var (
	ErrClosed       = errors.New("the connection to Service Bus is closed")
	ErrLockLost     = errors.New("the lock has ended, or its message was settled")
	ErrTooLarge     = errors.New("too large for the queue")
	ErrNotFound     = errors.New("there is no such queue in the namespace")
	ErrUnauthorized = errors.New("these credentials, or this right, are refused by Service Bus")
	ErrThrottled    = errors.New("too much for Service Bus at the moment")
	ErrUnavailable  = errors.New("cannot reach Service Bus")
	ErrFull         = errors.New("the queue is full")
	ErrRefused      = errors.New("refused by Service Bus")
)

// Causes that are our own.
var (
	errEnded = errors.New("the connection has ended")
	errHung  = errors.New("a call did not come back")
)

// kindOf names the kind of an error of the SDK, or of our own.
func kindOf(err error) error {
	for _, kind := range []error{ErrClosed, ErrLockLost, ErrTooLarge, ErrNotFound, ErrUnauthorized, ErrThrottled, ErrUnavailable, ErrFull, ErrRefused} {
		if errors.Is(err, kind) {
			return kind
		}
	}
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
		}
		// CodeClosed is a link of ours that was given up under its user: a fault
		// that passes. ErrClosed is a client that its owner has closed.
	}
	// What comes from attaching a link is not translated by the SDK.
	if raw, ok := errors.AsType[*amqp.Error](err); ok {
		return kindOfCondition(raw.Condition)
	}
	if rpc, ok := errors.AsType[interface {
		error
		RPCCode() int
	}](err); ok {
		return kindOfStatus(rpc.RPCCode())
	}
	if response, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return kindOfStatus(response.StatusCode)
	}
	if refused, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok &&
		refused.RawResponse != nil && refused.RawResponse.StatusCode < http.StatusInternalServerError {
		return ErrUnauthorized
	}
	return ErrUnavailable
}

func kindOfCondition(condition amqp.ErrCond) error {
	switch condition {
	case amqp.ErrCondNotFound:
		return ErrNotFound
	case amqp.ErrCondUnauthorizedAccess:
		return ErrUnauthorized
	case amqp.ErrCondMessageSizeExceeded:
		return ErrTooLarge
	case amqp.ErrCondResourceLimitExceeded:
		return ErrFull
	case "com.microsoft:server-busy":
		return ErrThrottled
	case "com.microsoft:message-lock-lost", "com.microsoft:session-lock-lost":
		return ErrLockLost
	case amqp.ErrCondNotAllowed, amqp.ErrCondNotImplemented, amqp.ErrCondInvalidField, amqp.ErrCondPreconditionFailed,
		"com.microsoft:entity-disabled", "com.microsoft:argument-error", "com.microsoft:argument-out-of-range":
		return ErrRefused
	default:
		return ErrUnavailable
	}
}

func kindOfStatus(status int) error {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrUnauthorized
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusGone:
		return ErrLockLost
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return ErrThrottled
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusConflict:
		return ErrRefused
	default:
		return ErrUnavailable
	}
}

// wrap names the kind of an error, and what was asked for. The context's own
// errors stay as they are.
func (c *Client) wrap(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	kind := kindOf(err)
	text := err.Error()
	if clean := c.ns.scrub(text); clean != text {
		return fmt.Errorf("%s: %w: %s", what, kind, clean)
	}
	if errors.Is(err, kind) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		// A limit of ours; the caller must not take it for its own.
		return fmt.Errorf("%s: %w: no answer in time", what, kind)
	}
	return fmt.Errorf("%s: %w: %w", what, kind, err)
}

// passing says whether an error is a fault of the way to the service, rather than
// the service's answer.
func passing(err error) bool { return errors.Is(err, ErrUnavailable) }
