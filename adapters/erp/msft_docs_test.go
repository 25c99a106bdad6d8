package erp_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ferry/adapters/erp"
	"ferry/config"
	"ferry/secret"
)

// TestExamplesOfMicrosoftsDialects: what the pages show as complete makes a worker,
// and the request that they say of a message that fits.
func TestExamplesOfMicrosoftsDialects(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	for page, cases := range map[string][]struct{ payload, method, url, body string }{
		"bc.md": {{
			`{"invoice":{"vendorNumber":"V-1","date":"2026-11-26","lines":[{"account":"4400","amount":11.90}]}}`,
			"POST", "https://api.businesscentral.dynamics.com/v2.0/TENANT-ID/Production/api/v2.0/purchaseInvoices?company=CRONUS%20International",
			`{"invoiceDate":"2026-11-26","purchaseInvoiceLines":[{"lineObjectNumber":"4400","lineType":"Account","quantity":1,"unitCost":11.90}],"vendorInvoiceNumber":"INV-1","vendorNumber":"V-1"}`,
		}},
		"dataverse.md": {{
			`{"order":{"number":"O-1","total":10.50,"customer":"A'1"}}`,
			"PATCH", "https://contoso.crm4.dynamics.com/api/data/v9.2/new_orders(new_externalid=%27INV-1%27)?$select=new_externalid",
			`{"new_customer@odata.bind":"/accounts(accountnumber='A''1')","new_number":"O-1","new_total":10.50}`,
		}},
		"d365fo.md": {{
			`{"invoice":{"supplier":"V-1","date":"2026-11-26","currency":"EUR"}}`,
			"POST", "https://contoso.operations.dynamics.com/data/VendorInvoiceHeaders",
			`{"CurrencyCode":"EUR","InvoiceAccount":"V-1","InvoiceDate":"2026-11-26","InvoiceNumber":"INV-1","dataAreaId":"usmf"}`,
		}, {
			`{"id":10,"name":"Wholesale"}`,
			"POST", "https://contoso.operations.dynamics.com/api/connector/enqueue/6d31e09f-0249-459f-94f0-aad9c2c47b64?entity=Customer%20groups&company=usmf",
			"CUSTOMERGROUPID,DESCRIPTION\n10,Wholesale\n",
		}},
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", "erp", page))
		if err != nil {
			t.Fatal(err)
		}
		blocks := block.FindAllStringSubmatch(string(text), -1)
		if len(blocks) != len(cases) {
			t.Fatalf("%s: %d examples, %d cases", page, len(blocks), len(cases))
		}
		for i, c := range cases {
			example := blocks[i][1]
			if n := strings.Count(example, "\n"); n > 10 {
				t.Errorf("%s: an example of %d lines", page, n)
			}
			file := filepath.Join(t.TempDir(), "worker.yaml")
			head := "name: worker-1\nqueue: {nats: {url: \"nats://127.0.0.1:4222\", nkey: env:LOGIN}}\n"
			if err := os.WriteFile(file, []byte(head+example), 0o600); err != nil {
				t.Fatal(err)
			}
			w, err := config.LoadWorker(file)
			if err != nil {
				t.Fatalf("%s: %v", page, err)
			}
			dest, err := erp.New(secret.Resolver{}, nil)(w.Destinations[w.Routes[0].Destination.Name].DestinationConfig)
			if err != nil {
				t.Fatalf("%s: %v", page, err)
			}
			defer func() { _ = dest.Close() }()
			adapter, err := dest.Route(w.Routes[0].RouteConfig)
			if err != nil {
				t.Fatalf("%s: %v", page, err)
			}
			p, err := adapter.Preview(t.Context(), letter("INV-1", c.payload))
			if err != nil {
				t.Fatalf("%s: %v", page, err)
			}
			if p.Method != c.method || p.URL != c.url || p.Body != c.body {
				t.Errorf("%s: %s %s\n%s\nwant %s %s\n%s", page, p.Method, p.URL, p.Body, c.method, c.url, c.body)
			}
		}
	}
}
