//! The implementation that is generated.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{Data, DeriveInput, Error, Fields, Result};

use crate::attributes::{Container, Field};

/// `impl FromRow` for a struct.
pub(crate) fn from_row(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        let text = "FromRow can be derived for structs only";
        return Err(Error::new_spanned(&input.ident, text));
    };
    let container = Container::read(&input.attrs)?;
    let krate = &container.krate;
    let mut reads = Vec::new();
    for (at, field) in data.fields.iter().enumerate() {
        let attributes = Field::read(&field.attrs)?;
        let column = match (&attributes.rename, &field.ident) {
            (Some(name), _) => quote!(#name),
            (None, Some(ident)) => {
                let name = container.case.apply(&ident.unraw().to_string());
                quote!(#name)
            }
            (None, None) => quote!(#at),
        };
        let value = read(&container, &attributes, &field.ty, &column);
        reads.push(match &field.ident {
            Some(ident) => quote!(#ident: #value),
            None => value,
        });
    }
    let built = match &data.fields {
        Fields::Named(_) => quote!(Self { #(#reads),* }),
        Fields::Unnamed(_) => quote!(Self(#(#reads),*)),
        Fields::Unit => quote!(Self),
    };
    let (name, (generics, types, bounds)) = (&input.ident, input.generics.split_for_impl());
    Ok(quote! {
        #[automatically_derived]
        impl #generics #krate::FromRow for #name #types #bounds {
            fn from_row(row: &#krate::Row) -> #krate::Result<Self> {
                let _ = row;
                ::core::result::Result::Ok(#built)
            }
        }
    })
}

fn read(
    container: &Container,
    attributes: &Field,
    of_type: &syn::Type,
    column: &TokenStream,
) -> TokenStream {
    let krate = &container.krate;
    if attributes.skip {
        return quote!(::core::default::Default::default());
    }
    if attributes.flatten {
        return quote!(<#of_type as #krate::FromRow>::from_row(row)?);
    }
    let value = if let Some(wire) = &attributes.try_from {
        quote! {{
            let value = row.get::<#wire>(#column)?;
            <#of_type as ::core::convert::TryFrom<#wire>>::try_from(value)
                .map_err(|error| #krate::Error::unfit(#column, &error))?
        }}
    } else {
        quote!(row.get::<#of_type>(#column)?)
    };
    if attributes.default {
        quote! {
            if row.has(#column) { #value } else { ::core::default::Default::default() }
        }
    } else {
        value
    }
}
