package connector

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"ferry"
)

func TestTry(t *testing.T) {
	raw := json.RawMessage(`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","required":["invoice","ghost"],"properties":{"invoice":{"$ref":"#/$defs/inv","title":"The invoice","description":"All of it"},"kind":{"const":"x"},"f":{"oneOf":[{"type":"string"},{"type":"null"}]}},"$defs":{"inv":{"type":"object","properties":{"number":{"type":"string","maxLength":20},"lines":{"type":"array","items":{"$ref":"#/$defs/line"}}}},"line":{"type":"object","properties":{"qty":{"type":["number","null"],"exclusiveMinimum":0},"sub":{"type":"array","items":{"$ref":"#/$defs/line"}}}}}}`)
	c, err := Make([]ferry.Route{{Name: "supplier-invoices", Schema: raw}, {Name: "orders"}}, Options{PublicURL: "https://broker.contoso.com/ferry", Auth: AuthBoth})
	if err != nil {
		t.Fatal(err)
	}
	dir := "/tmp/cconn/try"
	os.MkdirAll(dir, 0o755)
	for _, f := range c.Files {
		os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o644)
	}
	t.Log(c.Notes)
}
