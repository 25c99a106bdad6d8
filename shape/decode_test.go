package shape

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"ferry"
)

func onlyUTF8(data []byte) bool { return strings.ToValidUTF8(string(data), "") == string(data) }

// FuzzDecode holds the reader to encoding/json: what both take is the same value,
// and only what is told by name is taken by one of them.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,-0.5e+10,"x\u00e9\ud83d\ude00\n",true,false,null,{}],"b":{"c":"/\/"}}`, `"\ud800x"`, `[`, `{"a":1,"a":2}`, ` 12 `, `01`, `1.`, `-`,
		`"` + "\x01" + `"`, "\"\xff\"", `{"a" 1}`, `[1 2]`, `tru`, `nul`, `{"a":1,}`, `[,]`, `"\x"`, `"\u12"`, `{}x`, ``, `1e5`, `"é"`, "\"\\n\xff\"",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, fault := decode(data)
		var want any
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		err := d.Decode(&want)
		if err == nil && !json.Valid(data) {
			err = errors.New("something follows")
		}
		switch {
		case fault == nil && err != nil:
			t.Fatalf("taken, and encoding/json says %v", err)
		case fault != nil && err == nil:
			if fault.Code == ferry.CodeInvalid || !onlyUTF8(data) {
				return // a name twice, too deep, or no UTF-8
			}
			t.Fatalf("refused (%v), and encoding/json takes it", fault)
		case fault == nil && !reflect.DeepEqual(got, want):
			t.Fatalf("%#v, want %#v", got, want)
		}
		if tree, err := parseTree(data); fault == nil {
			if err != nil {
				t.Fatalf("the tree: %v", err)
			}
			again, fault := decode(tree.append(nil))
			if fault != nil || !reflect.DeepEqual(again, got) {
				t.Fatalf("written again: %#v, want %#v (%v)", again, got, fault)
			}
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		text, says, pointer string
		code                ferry.Code
	}{
		"a name twice":      {`{"lines":[{},{"a/b":1,"a\/b":2}]}`, "a member twice", "/lines/1/a~1b", ferry.CodeInvalid},
		"too deep":          {strings.Repeat("[", 600) + strings.Repeat("]", 600), "deep", "", ferry.CodeInvalid},
		"no UTF-8":          {"{\"a\":\"\xe4\"}", "not UTF-8, at byte 8", "", ferry.CodeBadRequest},
		"UTF-16":            {"\xff\xfe{\x00}\x00", "no value can begin so", "", ferry.CodeBadRequest},
		"a control":         {"\"a\tb\"", "control character", "", ferry.CodeBadRequest},
		"too early":         {`{"a":`, "ends too early", "", ferry.CodeBadRequest},
		"something follows": {`{} {}`, "something follows", "", ferry.CodeBadRequest},
		"a leading zero":    {`[01]`, "comma or a closing bracket", "", ferry.CodeBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			_, fault := decode([]byte(test.text))
			if fault == nil || fault.Code != test.code || !strings.Contains(fault.Message, test.says) {
				t.Fatalf("%v, want %s: %s", fault, test.code, test.says)
			}
			if test.pointer != "" && (len(fault.Details) != 1 || fault.Details[0].Pointer != test.pointer) {
				t.Errorf("details %+v, want the pointer %s", fault.Details, test.pointer)
			}
		})
	}
}
