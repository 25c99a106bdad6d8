package servicebus

import (
	"context"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// credential bounds the SDK's requests for tokens, which it makes without a
// context, and keeps it from repeating them without a pause when they fail.
type credential struct {
	inner azcore.TokenCredential
	most  time.Duration
}

func (c *Client) credential() azcore.TokenCredential {
	return credential{inner: c.cfg.Credential, most: c.timing.dial}
}

func (c credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	ctx, stop := context.WithTimeout(ctx, c.most)
	defer stop()
	token, err := c.inner.GetToken(ctx, o)
	if err != nil {
		return token, finalError{fmt.Errorf("ask for a token of Entra ID: %w", err)}
	}
	return token, nil
}

// finalError tells the SDK that there is no use in trying again.
type finalError struct{ error }

// NonRetriable is what the SDK looks for.
func (finalError) NonRetriable() {}

func (e finalError) Unwrap() error { return e.error }
