package sbqueue

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The SDK (azservicebus v1.11.0) opens a link twice when two calls find it closed at
	// the same moment, and never ends the renewer of the first claim.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction(
		"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus/internal.(*Namespace).startNegotiateClaimRenewer.func3"))
}
