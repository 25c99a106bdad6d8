package sbemu

import (
	"context"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"github.com/Azure/go-amqp"

	"ferry/internal/sbemu/entity"
)

// start runs a double with a queue "orders" and ends it with the test.
func start(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Queues == nil {
		o.Queues = []entity.Config{{Name: "orders"}}
	}
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// client connects the SDK, without long waits between its tries.
func client(t testing.TB, s *Server) *azservicebus.Client {
	t.Helper()
	return clientOf(t, s.ConnectionString(), nil)
}

func clientOf(t testing.TB, connectionString string, o *azservicebus.ClientOptions) *azservicebus.Client {
	t.Helper()
	if o == nil {
		o = &azservicebus.ClientOptions{}
	}
	o.RetryOptions = azservicebus.RetryOptions{MaxRetries: 3, RetryDelay: 10 * time.Millisecond, MaxRetryDelay: 50 * time.Millisecond}
	c, err := azservicebus.NewClientFromConnectionString(connectionString, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Bounded: a connection that is frozen, or whose answers are dropped, does not
		// close in peace. The double's end, which follows, cuts it.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

// within bounds a test's waiting: it only guards against hanging.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func sender(t testing.TB, c *azservicebus.Client, queue string) *azservicebus.Sender {
	t.Helper()
	s, err := c.NewSender(queue, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func receiver(t testing.TB, c *azservicebus.Client, queue string, o *azservicebus.ReceiverOptions) *azservicebus.Receiver {
	t.Helper()
	r, err := c.NewReceiverForQueue(queue, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func send(t testing.TB, s *azservicebus.Sender, m *azservicebus.Message) {
	t.Helper()
	if err := s.SendMessage(within(t), m, nil); err != nil {
		t.Fatal(err)
	}
}

// receive takes one message. The SDK returns none, and no error, when a connection
// breaks under it.
func receive(t testing.TB, r *azservicebus.Receiver) *azservicebus.ReceivedMessage {
	t.Helper()
	ctx := within(t)
	for {
		ms, err := r.ReceiveMessages(ctx, 1, nil)
		must(t, err)
		if len(ms) == 1 {
			return ms[0]
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSendReceiveComplete(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	send(t, sender(t, c, "orders"), &azservicebus.Message{Body: []byte("hello")})
	r := receiver(t, c, "orders", nil)
	m := receive(t, r)
	if string(m.Body) != "hello" || m.DeliveryCount != 1 {
		t.Errorf("received %q, delivery %d", m.Body, m.DeliveryCount)
	}
	must(t, r.CompleteMessage(within(t), m, nil))
	q, err := s.Namespace().Queue("orders")
	must(t, err)
	if got := q.Counts(); got != (entity.Counts{}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func contextIn(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(context.Background(), d)
}

func message(size int) *amqp.Message { return amqp.NewMessage(make([]byte, size)) }

func queuesNamed(names ...string) []entity.Config {
	out := make([]entity.Config, 0, len(names))
	for _, n := range names {
		out = append(out, entity.Config{Name: n})
	}
	return out
}
