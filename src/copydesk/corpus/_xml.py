"""XML from strangers: no entities, no document types, nothing fetched."""

import xml.etree.ElementTree as ET

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from copydesk.corpus._fields import UnfitError

Element = ET.Element


def parse_xml(content: bytes) -> Element:
    """The root of a document.

    Raises:
        UnfitError: it is not XML, or declares entities or a document type.
    """
    try:
        return fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        raise UnfitError(
            "xml-entities", "It declares a document type or entities, which are not read."
        ) from None
    except ET.ParseError as error:
        raise UnfitError("not-xml", f"It is not XML: {error}.") from None
    except (ValueError, LookupError, RecursionError) as error:
        raise UnfitError("not-xml", f"It is not XML that can be read: {error}.") from None


def local_name(element: Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def child_text(element: Element, name: str) -> str:
    """The text of the first child of that local name; empty where there is none."""
    for child in element:
        if local_name(child) == name:
            return (child.text or "").strip()
    return ""


def xml_bytes(element: Element) -> bytes:
    """An element as XML, for its hash."""
    return ET.tostring(element, encoding="utf-8")
