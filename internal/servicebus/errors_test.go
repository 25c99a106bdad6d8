package servicebus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/Azure/go-amqp"

	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
)

func TestTrap10ErrorsAreOfAFewKinds(t *testing.T) {
	raw := func(condition amqp.ErrCond) error {
		return fmt.Errorf("attach: %w", &amqp.LinkError{RemoteErr: &amqp.Error{Condition: condition}})
	}
	for _, c := range []struct {
		err  error
		want error
	}{
		{&azservicebus.Error{Code: azservicebus.CodeLockLost}, ErrLockLost},
		{&azservicebus.Error{Code: azservicebus.CodeUnauthorizedAccess}, ErrUnauthorized},
		{&azservicebus.Error{Code: azservicebus.CodeConnectionLost}, ErrUnavailable},
		{&azservicebus.Error{Code: azservicebus.CodeTimeout}, ErrUnavailable},
		{&azservicebus.Error{Code: azservicebus.CodeNotFound}, ErrNotFound},
		{&azservicebus.Error{Code: azservicebus.CodeClosed}, ErrUnavailable},
		{azservicebus.ErrMessageTooLarge, ErrTooLarge},
		{raw(amqp.ErrCondNotFound), ErrNotFound},
		{raw(amqp.ErrCondUnauthorizedAccess), ErrUnauthorized},
		{raw(amqp.ErrCondMessageSizeExceeded), ErrTooLarge},
		{raw(amqp.ErrCondResourceLimitExceeded), ErrFull},
		{raw(amqp.ErrCondNotAllowed), ErrRefused},
		{raw("com.microsoft:server-busy"), ErrThrottled},
		{raw("com.microsoft:message-lock-lost"), ErrLockLost},
		{raw("com.microsoft:entity-disabled"), ErrRefused},
		{raw("amqp:link:detach-forced"), ErrUnavailable},
		{&azcore.ResponseError{StatusCode: http.StatusForbidden}, ErrUnauthorized},
		{&azcore.ResponseError{StatusCode: http.StatusUnauthorized}, ErrUnauthorized},
		{&azcore.ResponseError{StatusCode: http.StatusNotFound}, ErrNotFound},
		{&azcore.ResponseError{StatusCode: http.StatusBadRequest}, ErrRefused},
		{&azcore.ResponseError{StatusCode: http.StatusServiceUnavailable}, ErrThrottled},
		{&azcore.ResponseError{StatusCode: http.StatusInternalServerError}, ErrUnavailable},
		{finalError{&azidentity.AuthenticationFailedError{RawResponse: &http.Response{StatusCode: http.StatusUnauthorized}}}, ErrUnauthorized},
		{finalError{&azidentity.AuthenticationFailedError{RawResponse: &http.Response{StatusCode: http.StatusBadGateway}}}, ErrUnavailable},
		{finalError{&azidentity.AuthenticationFailedError{}}, ErrUnavailable},
		{io.EOF, ErrUnavailable},
		{errEnded, ErrUnavailable},
		{fmt.Errorf("made before: %w", ErrFull), ErrFull},
	} {
		got := (&Client{}).wrap(context.Background(), "send to orders", c.err)
		if !errors.Is(got, c.want) || !strings.HasPrefix(got.Error(), "send to orders: ") {
			t.Errorf("%T %v: %v", c.err, c.err, got)
		}
		if c.want != ErrUnavailable && errors.Is(got, ErrUnavailable) {
			t.Errorf("%v is of two kinds", got)
		}
	}
}

func TestALimitOfOursIsNotTheCallersContext(t *testing.T) {
	c := &Client{}
	got := c.wrap(context.Background(), "send", fmt.Errorf("put: %w", context.DeadlineExceeded))
	if !errors.Is(got, ErrUnavailable) || errors.Is(got, context.DeadlineExceeded) {
		t.Errorf("%v", got)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if got := c.wrap(over, "send", io.EOF); got != context.Canceled { //nolint:errorlint // as it is
		t.Errorf("%v", got)
	}
	if got := c.wrap(over, "send", nil); got != nil {
		t.Errorf("%v", got)
	}
}

// What the double answers, as those who call see it.
func TestTrap10AnswersOfTheServiceAreOfAFewKinds(t *testing.T) {
	d := start(t, func(o *sbemu.Options, _ *Config, limits *timing) {
		limits.busy = 10 * time.Millisecond
		o.Queues = append(o.Queues,
			entity.Config{Name: "small", MaxMessageBytes: 4 << 10, MaxBatchBytes: 8 << 10},
			entity.Config{Name: "full", MaxSizeBytes: 2000},
			entity.Config{Name: "off", Status: entity.Disabled},
			entity.Config{Name: "sessions", RequiresSession: true})
		o.Policies = map[string]sbemu.Policy{
			sbemu.RootPolicy: {Keys: []string{"root"}, Rights: sbemu.Manage},
			"listen":         {Keys: []string{"l"}, Rights: sbemu.Listen},
			"send":           {Keys: []string{"s"}, Rights: sbemu.Send},
		}
	})
	as := func(policy string) *Client {
		return d.dial(Config{ConnectionString: d.emu.ConnectionStringOf(policy)}, quick())
	}
	wrong := d.dial(Config{ConnectionString: strings.Replace(d.emu.ConnectionString(), "AccessKey=root", "AccessKey=other", 1)}, quick())
	send := func(c *Client, queue string, msgs ...*azservicebus.Message) error {
		return c.Sender(queue).Send(d.soon(), msgs)
	}
	receive := func(c *Client, queue string) error {
		_, err := c.Receiver(queue, ReceiverOptions{}).Receive(d.soon(), 1)
		return err
	}
	big := &azservicebus.Message{Body: make([]byte, 5<<10)}
	for name, c := range map[string]struct {
		got  error
		want error
	}{
		"a wrong key":           {send(wrong, queue, messages(0, 1)...), ErrUnauthorized},
		"a wrong key, again":    {send(wrong, queue, messages(0, 1)...), ErrUnauthorized},
		"receive, wrong key":    {receive(wrong, queue), ErrUnauthorized},
		"no right to send":      {send(as("listen"), queue, messages(0, 1)...), ErrUnauthorized},
		"no right to receive":   {receive(as("send"), queue), ErrUnauthorized},
		"too large":             {send(d.client, "small", big), ErrTooLarge},
		"too large in a batch":  {send(d.client, "small", append(messages(0, 3), big)...), ErrTooLarge},
		"full":                  {send(d.client, "full", big), ErrFull},
		"disabled":              {send(d.client, "off", messages(0, 1)...), ErrRefused},
		"a queue with sessions": {receive(d.client, "sessions"), ErrRefused},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v", name, c.got)
		}
	}
	if err := send(d.client, queue, messages(0, 1)...); err != nil {
		t.Error(err)
	}
	// None of this is the connection's fault.
	if n := d.client.number.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
