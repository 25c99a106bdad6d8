package api

import (
	"reflect"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"ferry"
)

// schemas makes OpenAPI schemas of Go types, from the same fields that the
// encoder writes. Named structs become components.
type schemas struct {
	components openapi3.Schemas
}

// ref gives the schema of a type. strict is for requests: they may hold no other
// members, and need only those that have no meaning when left out.
func (s *schemas) ref(t reflect.Type, strict bool) *openapi3.SchemaRef {
	if own := ownForm(t); own != nil {
		return own.NewRef()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.ref(t.Elem(), strict)
	case reflect.Struct:
		return s.structRef(t, strict)
	case reflect.Slice, reflect.Array:
		list := openapi3.NewArraySchema()
		list.Items = s.ref(t.Elem(), strict)
		return list.NewRef()
	case reflect.Map:
		object := openapi3.NewObjectSchema()
		object.AdditionalProperties = openapi3.AdditionalProperties{Schema: s.ref(t.Elem(), strict)}
		return object.NewRef()
	case reflect.String:
		return enumSchema(t).NewRef()
	case reflect.Bool:
		return openapi3.NewBoolSchema().NewRef()
	case reflect.Int64:
		return openapi3.NewInt64Schema().NewRef()
	case reflect.Int, reflect.Uint64:
		return openapi3.NewIntegerSchema().NewRef()
	default: // any
		return openapi3.NewSchema().NewRef()
	}
}

// ownForm is the schema of the types that the encoder treats apart.
func ownForm(t reflect.Type) *openapi3.Schema {
	switch t {
	case timeType:
		return openapi3.NewDateTimeSchema()
	case rawType:
		return openapi3.NewSchema().WithNullable() // any value, null too
	case bytesType:
		return openapi3.NewStringSchema().WithFormat("byte")
	case reflect.TypeFor[ferry.ID]():
		return openapi3.NewUUIDSchema()
	case reflect.TypeFor[ferry.Rate]():
		return openapi3.NewStringSchema()
	default:
		return nil
	}
}

// enumSchema lists the values of the types that have a fixed set.
func enumSchema(t reflect.Type) *openapi3.Schema {
	schema := openapi3.NewStringSchema()
	var values []string
	switch t {
	case reflect.TypeFor[ferry.State]():
		values = enum(ferry.States())
	case reflect.TypeFor[ferry.Reason]():
		values = enum(ferry.Reasons())
	case reflect.TypeFor[ferry.Role]():
		values = enum(ferry.Roles())
	case reflect.TypeFor[ferry.RouteState]():
		values = enum(ferry.RouteStates())
	case reflect.TypeFor[ferry.WorkerState]():
		values = enum(ferry.WorkerStates())
	case reflect.TypeFor[ferry.IntakeState]():
		values = enum(ferry.IntakeStates())
	}
	for _, v := range values {
		schema.Enum = append(schema.Enum, v)
	}
	return schema
}

func (s *schemas) structRef(t reflect.Type, strict bool) *openapi3.SchemaRef {
	name := componentName(t)
	ref := openapi3.NewSchemaRef("#/components/schemas/"+name, nil)
	if known, ok := s.components[name]; ok {
		ref.Value = known.Value
		return ref
	}
	schema := openapi3.NewObjectSchema()
	ref.Value = schema
	s.components[name] = schema.NewRef()
	schema.Properties = openapi3.Schemas{}
	for _, f := range fieldsOf(t) {
		member := s.ref(f.typ, strict)
		if f.doc != "" && member.Ref == "" {
			member.Value.Description = f.doc
		}
		schema.Properties[f.name] = member
		optional := f.omitEmpty || f.omitZero || strict && f.typ.Kind() == reflect.Struct
		if !optional {
			schema.Required = append(schema.Required, f.name)
		}
	}
	if strict {
		no := false
		schema.AdditionalProperties = openapi3.AdditionalProperties{Has: &no}
	}
	return ref
}

// componentName is the type's name; of List[ferry.Group] it is GroupList.
func componentName(t reflect.Type) string {
	name, argument, generic := strings.Cut(strings.TrimSuffix(t.Name(), "]"), "[")
	if generic {
		return argument[strings.LastIndexByte(argument, '.')+1:] + name
	}
	return name
}
