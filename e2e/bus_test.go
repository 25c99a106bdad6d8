package e2e

import (
	"context"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/sbemu"
)

// onBus runs every world on Service Bus: on the double of this project, in the
// process of the tests.
const onBus = "FERRY_E2E_SERVICEBUS"

// startBus starts the double. Its queues are made by the broker.
func (w *world) startBus() {
	w.t.Helper()
	bus, err := sbemu.Start(sbemu.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.double = bus
	w.t.Cleanup(func() {
		if err := bus.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.write("bus.txt", bus.ConnectionString())
}

// brokerQueue is the queue of broker.yaml.
func (w *world) brokerQueue(lock string) string {
	if w.double != nil {
		return fmt.Sprintf("{driver: servicebus, servicebus: {connectionString: \"file:./bus.txt\", adminUrl: \"http://%s\", provision: true, lock: %s%s}}", w.double.Addr(), lock, w.bodies)
	}
	return fmt.Sprintf("{nats: {listen: %q, lock: %s}}", w.queue, lock)
}

// workerQueue is the queue of worker.yaml.
func (w *world) workerQueue(name, lock string) string {
	if w.double != nil {
		return fmt.Sprintf("{driver: servicebus, servicebus: {connectionString: \"file:./bus.txt\", nkey: ./%s.nk, lock: %s%s}}", name, lock, w.bodies)
	}
	return fmt.Sprintf("{nats: {url: \"nats://%s\", nkey: ./%s.nk, lock: %s}}", w.queue, name, lock)
}

// flowSender sends to a queue as a flow's connector does, with the Go SDK.
func (w *world) flowSender(queue string) (send func(id string)) {
	w.t.Helper()
	sdk, err := azservicebus.NewClientFromConnectionString(w.double.ConnectionString(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = sdk.Close(context.Background()) })
	sender, err := sdk.NewSender(queue, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return func(id string) {
		w.t.Helper()
		contentType := "application/json"
		ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
		defer cancel()
		err := sender.SendMessage(ctx, &azservicebus.Message{MessageID: &id, ContentType: &contentType, Body: []byte(kibibyte(id))}, nil)
		if err != nil {
			w.t.Fatal(err)
		}
	}
}
