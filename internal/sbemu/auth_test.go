package sbemu

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus/admin"
	"github.com/Azure/go-amqp"

	"ferry/internal/sbemu/entity"
	"ferry/internal/sbemu/wire"
)

func isUnauthorized(err error) bool {
	var sdk *azservicebus.Error
	var raw *amqp.Error
	return errors.As(err, &sdk) && sdk.Code == azservicebus.CodeUnauthorizedAccess || errors.As(err, &raw) && raw.Condition == condUnauthorized
}

func TestWrongKey(t *testing.T) {
	s := start(t, Options{})
	for name, cs := range map[string]string{
		"wrong key":      strings.Replace(s.ConnectionString(), s.auth.key(RootPolicy), "d3Jvbmc=", 1),
		"unknown policy": strings.Replace(s.ConnectionString(), RootPolicy, "Nobody", 1),
	} {
		err := sender(t, clientOf(t, cs, nil), "orders").SendMessage(within(t), &azservicebus.Message{}, nil)
		if !isUnauthorized(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRightsPerPolicyAndQueue(t *testing.T) {
	s := start(t, Options{
		Queues: []entity.Config{{Name: "orders"}, {Name: "receipts"}},
		Policies: map[string]Policy{
			"sender": {Keys: []string{"k1"}, Rights: Send},
			"worker": {Keys: []string{"k2", "k3"}, Entities: map[string]Rights{"Orders": Listen, "receipts": Send}},
			"root":   {Keys: []string{"k4"}, Rights: Manage},
		},
	})
	send1 := func(c *azservicebus.Client, queue string) error {
		return sender(t, c, queue).SendMessage(within(t), &azservicebus.Message{}, nil)
	}
	peek := func(c *azservicebus.Client, queue string) error {
		_, err := receiver(t, c, queue, nil).PeekMessages(within(t), 1, nil)
		return err
	}
	schedule := func(c *azservicebus.Client, queue string) error {
		_, err := sender(t, c, queue).ScheduleMessages(within(t), []*azservicebus.Message{{}}, time.Now().Add(time.Hour), nil)
		return err
	}
	for _, c := range []struct {
		policy, queue string
		do            func(*azservicebus.Client, string) error
		allowed       bool
	}{
		{"sender", "orders", send1, true},
		{"sender", "receipts", schedule, true},
		{"sender", "orders", peek, false},
		{"worker", "orders", peek, true},
		{"worker", "orders", send1, false},
		{"worker", "receipts", send1, true},
		{"worker", "receipts", schedule, true},
		{"worker", "receipts", peek, false},
		{"root", "orders", peek, true},
		{"root", "receipts", send1, true},
	} {
		err := c.do(clientOf(t, s.ConnectionStringOf(c.policy), nil), c.queue)
		if c.allowed && err != nil || !c.allowed && !isUnauthorized(err) {
			t.Errorf("%s on %s: %v", c.policy, c.queue, err)
		}
	}
	// The second key of a policy is as good as the first.
	cs := strings.Replace(s.ConnectionStringOf("worker"), "SharedAccessKey=k2", "SharedAccessKey=k3", 1)
	must(t, peek(clientOf(t, cs, nil), "orders"))
	// Management asks for the right again, with each operation.
	if err := schedule(clientOf(t, s.ConnectionStringOf("worker"), nil), "orders"); !isUnauthorized(err) {
		t.Errorf("scheduled without the right to send: %v", err)
	}
}

// staticCredential stands for Entra ID.
type staticCredential string

func (c staticCredential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(c), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestTokensOfEntraID(t *testing.T) {
	cert := certificate(t)
	s := start(t, Options{TLS: cert.server, CheckJWT: func(token string) (string, error) {
		if token == "the-broker" {
			return RootPolicy, nil
		}
		return "", errors.New("nobody knows it")
	}})
	for token, allowed := range map[string]bool{"the-broker": true, "another": false} {
		c, err := azservicebus.NewClient(Host, staticCredential(token), &azservicebus.ClientOptions{TLSConfig: cert.client, CustomEndpoint: s.Addr()})
		must(t, err)
		err = sender(t, c, "orders").SendMessage(within(t), &azservicebus.Message{}, nil)
		if allowed && err != nil || !allowed && !isUnauthorized(err) {
			t.Errorf("%s: %v", token, err)
		}
		must(t, c.Close(within(t)))
	}
}

// A link lives no longer than its token, unless another was put in time.
func TestTokenEnds(t *testing.T) {
	s := start(t, Options{})
	p := dialRaw(t, s)
	p.open(&wire.Open{ContainerID: "test"})
	put := func(life time.Duration) int32 {
		p.begin(5)
		p.attachSender(5, 0, "$cbs")
		p.attachReceiver(5, 1, &wire.Source{Address: "$cbs"}, 1)
		audience := "sb://" + s.Addr() + "/orders"
		p.transfer(5, &wire.Transfer{Handle: 0, DeliveryID: wire.U(0), DeliveryTag: []byte("t"), Settled: true}, &amqp.Message{
			Properties:            &amqp.MessageProperties{MessageID: "1", ReplyTo: ptr("there")},
			ApplicationProperties: map[string]any{"operation": "put-token", "type": tokenSAS, "name": audience},
			Value:                 sign(audience, RootPolicy, s.auth.key(RootPolicy), time.Now().Add(life)),
		})
		_, m := p.message()
		p.send(5, &wire.End{})
		expect[*wire.End](p)
		return m.ApplicationProperties["statusCode"].(int32)
	}
	if got := put(-time.Second); got != 401 {
		t.Errorf("a token that has ended was answered with %d", got)
	}
	if got := put(2 * 400 * 24 * time.Hour); got != 401 {
		t.Errorf("a token for years was answered with %d", got)
	}
	if got := put(3 * time.Second); got != 202 { // whole seconds: more than two are left
		t.Fatalf("the token was answered with %d", got)
	}
	p.begin(0)
	p.attachSender(0, 0, "orders")
	p.send(0, &wire.Attach{Name: "x", Handle: 1, Target: &wire.Target{Address: "orders2"}, InitialDeliveryCount: wire.U(0)})
	expect[*wire.Attach](p)
	if d := expect[*wire.Detach](p); d.Error == nil || d.Error.Condition != condNotFound {
		t.Errorf("detached with %v", d.Error)
	}
	if d := expect[*wire.Detach](p); d.Handle != 0 || d.Error == nil || d.Error.Condition != condUnauthorized {
		t.Errorf("detached with %v", d.Error)
	}
	if got := put(time.Hour); got != 202 {
		t.Fatalf("the token was answered with %d", got)
	}
	p.attachSender(0, 2, "orders")
}

func TestClaimsAreBounded(t *testing.T) {
	s := start(t, Options{Limits: Limits{Claims: 2}, Queues: []entity.Config{{Name: "a"}, {Name: "b"}, {Name: "c"}}})
	p := dialRaw(t, s)
	p.open(&wire.Open{ContainerID: "test"})
	p.token(s, "a")
	p.token(s, "b")
	p.token(s, "a") // anew
	p.begin(5)
	p.attachSender(5, 0, "$cbs")
	p.attachReceiver(5, 1, &wire.Source{Address: "$cbs"}, 1)
	audience := "sb://" + s.Addr() + "/c"
	p.transfer(5, &wire.Transfer{Handle: 0, DeliveryID: wire.U(0), DeliveryTag: []byte("t"), Settled: true}, &amqp.Message{
		Properties:            &amqp.MessageProperties{MessageID: "1", ReplyTo: ptr("there")},
		ApplicationProperties: map[string]any{"operation": "put-token", "type": tokenSAS, "name": audience},
		Value:                 sign(audience, RootPolicy, s.auth.key(RootPolicy), time.Now().Add(time.Hour)),
	})
	if _, m := p.message(); m.ApplicationProperties["statusCode"] != int32(403) {
		t.Errorf("the third token was answered with %v", m.ApplicationProperties)
	}
}

// toHTTP sends the admin client, which insists on https, to the double's port.
type toHTTP struct{ addr string }

func (c toHTTP) Do(r *http.Request) (*http.Response, error) {
	r.URL.Scheme, r.URL.Host = "http", c.addr
	return http.DefaultClient.Do(r)
}

func TestAdministration(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	s := start(t, Options{Policies: map[string]Policy{"root": {Keys: []string{"k1"}, Rights: Manage}, "worker": {Keys: []string{"k2"}, Rights: Send | Listen}}})
	of := func(policy string) *admin.Client {
		c, err := admin.NewClientFromConnectionString(s.ConnectionStringOf(policy), &admin.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: toHTTP{s.Addr()}, Retry: noRetry}})
		must(t, err)
		return c
	}
	got, err := of("root").GetQueue(within(t), "orders", nil)
	if err != nil || got == nil || got.QueueName != "orders" {
		t.Errorf("the queue is %+v, %v", got, err)
	}
	_, err = of("root").CreateQueue(within(t), "made", &admin.CreateQueueOptions{Properties: &admin.QueueProperties{RequiresDuplicateDetection: ptr(true)}})
	must(t, err)
	q, err := s.Namespace().Queue("made")
	if err != nil || q.Config().DuplicateWindow == 0 {
		t.Errorf("made %v, %v", q, err)
	}
	if _, err := of("worker").GetQueue(within(t), "orders", nil); err == nil {
		t.Error("a policy that may not manage looked at a queue")
	}
	send(t, sender(t, clientOf(t, s.ConnectionStringOf("root"), nil), "made"), &azservicebus.Message{})
	if got, err := of("root").GetQueueRuntimeProperties(within(t), "made", nil); err != nil || got.ActiveMessageCount != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}
